"""The search index and the search conditions of each database: FTS5 in SQLite, an index of a tsvector in PostgreSQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from django.db.models import BooleanField, F, Func, Q, Value
from django.db.models.functions import StrIndex
from django.db.models.lookups import GreaterThan
from typing_extensions import override

from orbsite.search.query import Phrase, Wanted
from orbsite.storage.sql.retention.dialects import text_list

MOST_TERMS = 100
"""The number of words with one prefix that are counted one by one."""
_INDEXED_PREFIX = 3
"""The length up to which the FTS5 table has an index of prefixes."""
_TERMS_TABLE = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.orb_terms USING fts5vocab('main', 'orb_words_index', 'instance')"
)
# Each step seeks the first word after the last one, because a scan would read the rows of each word.
_TERMS = (
    "WITH RECURSIVE prefix(first) AS (SELECT %s), found(term) AS ("
    "SELECT (SELECT term FROM temp.orb_terms WHERE term >= first AND term <= first || char(1114111) LIMIT 1) "
    "FROM prefix UNION ALL "
    "SELECT (SELECT next.term FROM temp.orb_terms AS next "
    "WHERE next.term >= found.term || char(1) AND next.term <= first || char(1114111) LIMIT 1) "
    "FROM found, prefix WHERE found.term IS NOT NULL LIMIT %s) SELECT term FROM found"
)


class SearchBackend(ABC):
    """The search index of one database. Words hold no quotation mark, apostrophe or backslash."""

    position: str
    """The function that returns the place of a text in another, 0 if it is not there."""

    @abstractmethod
    def source(self, words: Sequence[tuple[str, bool]], table: str = "", on: str = "") -> tuple[str, list[Any]]:
        """Return the SQL, from FROM on, of the rows of words, named `w`, that have all words, and its parameters.

        Each word comes with whether it is a prefix. They are joined with a table, if there is one.
        """

    @abstractmethod
    def number(self, cursor: Any, word: str, most: int, *, is_begun: bool) -> int:
        """Return the number of rows with a word, or with a word that begins with it, at most `most`."""


class Fts5(SearchBackend):
    """SQLite's FTS5. It reads its list of the rows of a word step by step, but merges those of a prefix first."""

    position = "instr"

    @override
    def source(self, words: Sequence[tuple[str, bool]], table: str = "", on: str = "") -> tuple[str, list[Any]]:
        expression = " ".join(f'"{word}"{" *" if is_begun else ""}' for word, is_begun in words)
        found = "FROM orb_words_index f CROSS JOIN orb_words w ON w.id = f.rowid"  # SQLite keeps this order
        joined = f" CROSS JOIN {table} ON {on}" if table else ""
        return f"{found}{joined} WHERE f.orb_words_index MATCH %s", [expression]

    @override
    def number(self, cursor: Any, word: str, most: int, *, is_begun: bool) -> int:
        expression = self._begun(cursor, word) if is_begun else f'"{word}"'
        found = "SELECT 1 FROM orb_words_index WHERE orb_words_index MATCH %s LIMIT %s"
        cursor.execute(f"SELECT COUNT(*) FROM ({found})", [expression, most])
        return int(cursor.fetchone()[0])

    def _begun(self, cursor: Any, word: str) -> str:
        """Return the expression for a prefix: a choice of the words that begin with it, if they are not many."""
        if len(word) <= _INDEXED_PREFIX:
            return f'"{word}" *'
        cursor.execute(_TERMS_TABLE)
        cursor.execute(_TERMS, [word, MOST_TERMS + 1])
        terms = [term for (term,) in cursor.fetchall() if term is not None]
        is_listed = 0 < len(terms) <= MOST_TERMS
        return " OR ".join(f'"{term}"' for term in terms) if is_listed else f'"{word}" *'


class Tsvector(SearchBackend):
    """PostgreSQL's GIN index of a tsvector."""

    position = "strpos"

    @override
    def source(self, words: Sequence[tuple[str, bool]], table: str = "", on: str = "") -> tuple[str, list[Any]]:
        expression = " & ".join(f"'{word}'{':*' if is_begun else ''}" for word, is_begun in words)
        joined = f" JOIN {table} ON {on}" if table else ""
        return f"FROM orb_words w{joined} WHERE w.vector @@ %s::tsquery", [expression]

    @override
    def number(self, cursor: Any, word: str, most: int, *, is_begun: bool) -> int:
        source, parameters = self.source([(word, is_begun)])
        cursor.execute(f"SELECT COUNT(*) FROM (SELECT 1 {source} LIMIT %s) AS found", [*parameters, most])
        return int(cursor.fetchone()[0])


def backend_of(connection: Any) -> SearchBackend:
    """Return the search index of a connection's database."""
    return Tsvector() if connection.vendor == "postgresql" else Fts5()


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
