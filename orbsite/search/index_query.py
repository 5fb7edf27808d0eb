"""Queries on the search index for one table: how many rows have a word, which rows match, and a bounded count."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import F, Q, QuerySet, TextField
from django.db.models.expressions import Expression

from orbsite.search.backends import backend_of
from orbsite.search.indexer import name_field
from orbsite.search.query import Wanted
from orbsite.storage.sql.filters import Condition
from orbsite.storage.sql.models import RecordRow


class IndexQuery:
    """A search query as the index of the database answers it, for the rows of one table, of all users or of one.

    Rows count only if their words were read from the text that they have now.
    """

    def __init__(self, model: type[RecordRow], wanted: Wanted, using: str, user_id: str | None = None) -> None:
        self._model, self._wanted, self._connection = model, wanted, connections[using]
        self._of_user, self._user = ("", []) if user_id is None else (" AND w.user_id = %s", [user_id])
        self._backend = backend_of(self._connection)
        self._quote = self._connection.ops.quote_name
        self._of_row = {"user_id": "w.user_id", name_field(model.kind): f"w.{self._quote('key')}", "digest": "w.digest"}
        """The columns of words by those of the row that they belong to."""

    def rows_of_rarest_word(self, most: int) -> int:
        """Return the number of records that have the rarest word of the query, at most `most`.

        No more records match. In SQLite, the index answers it for all users, from its lists of records.
        """
        found = most
        of_user, user = (self._of_user, self._user) if self._backend.has_users else ("", [])
        with self._connection.cursor() as cursor:
            for expression in self._expressions:
                statement = f"SELECT COUNT(*) FROM (SELECT 1 {self._backend.matching}{of_user} LIMIT %s) AS found"
                cursor.execute(statement, [expression, *user, found])
                found = int(cursor.fetchone()[0])
        return found

    def condition(self, others: Sequence[Any]) -> Q:
        """Return the condition that a row matches, or has one of some other primary keys."""
        meta: Any = self._model._meta
        same = [f"r.{self._quote(meta.get_field(name).column)} = {word}" for name, word in self._of_row.items()]
        table, key = self._quote(meta.db_table), self._quote(meta.pk.column)
        conditions, parameters = self._conditions()
        keys = self._backend.keys(f"r.{key}", f"{table} r", " AND ".join(same), conditions)
        return Q(_IsAmong(keys, parameters, others))

    def count(self, rows: QuerySet[Any], most: int) -> int:
        """Return how many of some rows match, at most `most`; the index is read no further than that."""
        own = rows.filter(**{name: _OfWords(column) for name, column in self._of_row.items()})
        try:
            row, of_row = own.order_by().values("pk").query.get_compiler(rows.db).as_sql()
        except EmptyResultSet:  # the conditions on the rows exclude each other
            return 0
        conditions, of_words = self._conditions()
        # a scalar subquery runs per row; the planner may turn EXISTS into a join with all rows
        found = f"SELECT 1 {self._backend.words()}{conditions} AND ({row}) IS NOT NULL LIMIT %s"
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM ({found}) AS found", [*of_words, *of_row, most])
            return int(cursor.fetchone()[0])

    def _conditions(self) -> tuple[str, list[Any]]:
        """Return further conditions on rows of words, each behind AND, with the parameters of them and of the index."""
        expression = self._backend.conjunction.join(self._expressions)
        sequences = [part.needle for part in self._wanted.parts if len(part.words) > 1]
        excluded = [part.needle for part in self._wanted.without]
        position = f" AND {self._backend.position}(w.words, %s)"
        exact = f"{position} > 0" * len(sequences) + f"{position} = 0" * len(excluded)
        parameters = [expression, self._model.kind.plural, *self._user, *sequences, *excluded]
        return f" AND w.kind = %s{self._of_user}{exact}", parameters

    @cached_property
    def _expressions(self) -> list[str]:
        """The expressions of the index for each word of the query."""
        with self._connection.cursor() as cursor:
            words = self._wanted.words
            return [self._backend.expression(cursor, word, is_begun=is_begun) for word, is_begun in words]


class _OfWords(Expression):
    """A column of the rows of words that surround a query."""

    output_field = TextField()

    def __init__(self, column: str) -> None:
        super().__init__()
        self._column = column

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:  # noqa: ARG002 -- Django's signature
        """Return the quoted name of the column."""
        return self._column, []


class _IsAmong(Condition):
    """The condition that a primary key is among the results of a query, or among others."""

    def __init__(self, query: str, parameters: Sequence[Any], others: Sequence[Any]) -> None:
        super().__init__(F("pk"))
        self._query, self._parameters, self._others = query, parameters, others

    def as_sql(self, compiler: Any, connection: Any, *_: Any, **__: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the condition with the other keys as further results."""
        row, parameters = compiler.compile(self.source_expressions[0])
        more = f" UNION ALL VALUES {', '.join(['(%s)'] * len(self._others))}" if self._others else ""
        return f"{row} IN ({self._query}{more})", [*parameters, *self._parameters, *self._others]

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:
        """Return the condition with an array, which is made once, even by a planner without statistics."""
        sql, parameters = self.as_sql(compiler, connection)
        row, _in, query = sql.partition(" IN (")
        return f"{row} = ANY (ARRAY({query})", parameters
