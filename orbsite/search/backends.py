"""The search conditions of each database: FTS5 in SQLite, an index of a tsvector in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import BooleanField, F, Func, Q, Value
from django.db.models.functions import StrIndex
from django.db.models.lookups import GreaterThan

from orbsite.search.query import Phrase, Wanted
from orbsite.storage.sql.retention.dialects import text_list


class HasWords(Func):
    """The condition that a row has all these words, each as a whole word or as a prefix. An index answers it."""

    output_field = BooleanField()

    def __init__(self, words: Sequence[tuple[str, bool]]) -> None:
        super().__init__(F("pk"))
        self._words = words

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the condition on the FTS5 table. No word holds a quotation mark."""
        row, parameters = compiler.compile(self.source_expressions[0])
        expression = " ".join(f'"{word}"{" *" if goes_on else ""}' for word, goes_on in self._words)
        return f"{row} IN (SELECT rowid FROM orb_words_index WHERE orb_words_index MATCH %s)", [*parameters, expression]

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the condition on PostgreSQL's column of the words. No word holds an apostrophe or a backslash."""
        row, parameters = compiler.compile(self.source_expressions[0])
        expression = " & ".join(f"'{word}'{':*' if goes_on else ''}" for word, goes_on in self._words)
        table = row.rpartition(".")[0]
        return f"{table}.vector @@ %s::tsquery", [*parameters, expression]


class HasTag(Func):
    """The condition that a list of texts contains a tag."""

    output_field = BooleanField()

    def __init__(self, column: str, tag: str) -> None:
        super().__init__(F(column))
        self._tag = tag

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the condition on the elements of the list."""
        column, parameters = compiler.compile(self.source_expressions[0])
        found = f"SELECT 1 FROM json_each({text_list(column)}) WHERE type = 'text' AND value = %s"
        return f"EXISTS ({found})", [*parameters, self._tag]

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the condition that the list contains the tag."""
        column, parameters = compiler.compile(self.source_expressions[0])
        return f"jsonb_exists({column}, %s)", [*parameters, self._tag]


def by_index(wanted: Wanted) -> Q:
    """Return the condition on rows of words that the index answers, plus an exact check where one is needed."""
    found = Q(HasWords(wanted.words))
    return found if wanted.is_words_alone else found & by_text(wanted)


def by_text(wanted: Wanted) -> Q:
    """Return the exact condition on the text of rows of words."""
    condition = Q()
    for part in wanted.parts:
        condition &= Q(_holds(part))
    for part in wanted.without:
        condition &= ~Q(_holds(part))
    return condition


def _holds(part: Phrase) -> Any:
    return GreaterThan(StrIndex("words", Value(part.needle)), 0)
