"""The search index and the search conditions of each database: FTS5 in SQLite, an index of a tsvector in PostgreSQL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from django.db.models import F, Q, Value
from django.db.models.functions import StrIndex
from django.db.models.lookups import GreaterThan
from typing_extensions import override

from orbsite.search.query import Phrase, Wanted
from orbsite.storage.sql.filters import Condition
from orbsite.storage.sql.retention.dialects import text_list

MOST_TERMS = 100
"""The number of words with one prefix that are looked up one by one."""
_INDEXED_PREFIX = 3
"""The length up to which the FTS5 table has an index of prefixes."""
_FTS5_WORDS = "FROM orb_words_index f CROSS JOIN orb_words w ON w.id = f.rowid"  # SQLite keeps this order
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

    conjunction: str
    """The text between expressions that must all match."""
    position: str
    """The function that returns the place of a text in another, 0 if it is not there."""
    matching: str
    """The SQL from FROM on for what the index has for an expression, which is its parameter."""
    has_users: bool
    """Whether `matching` reads the rows of words, `w`, which name their users."""

    @abstractmethod
    def expression(self, cursor: Any, word: str, *, is_begun: bool) -> str:
        """Return the expression for a word, or for all words that begin with it."""

    @abstractmethod
    def words(self) -> str:
        """Return the SQL from FROM on for the rows of words of an expression, named `w`."""

    @abstractmethod
    def keys(self, key: str, table: str, on: str, conditions: str) -> str:
        """Return the query for a column of a table's rows whose words match an expression and have further conditions.

        `on` joins the table with the words, `w`.
        """


class Fts5(SearchBackend):
    """SQLite's FTS5. It reads its lists of the rows of words step by step, but merges all lists of a prefix first."""

    conjunction, position, has_users = " AND ", "instr", False
    matching = "FROM orb_words_index WHERE orb_words_index MATCH %s"

    @override
    def expression(self, cursor: Any, word: str, *, is_begun: bool) -> str:
        if not is_begun:
            return f'"{word}"'
        terms = [] if len(word) <= _INDEXED_PREFIX else self._terms(cursor, word)
        is_listed = 0 < len(terms) <= MOST_TERMS
        return f"({' OR '.join(f'{chr(34)}{term}{chr(34)}' for term in terms)})" if is_listed else f'"{word}" *'

    @override
    def words(self) -> str:
        return f"{_FTS5_WORDS} WHERE f.orb_words_index MATCH %s"

    @override
    def keys(self, key: str, table: str, on: str, conditions: str) -> str:
        return f"SELECT {key} {_FTS5_WORDS} CROSS JOIN {table} ON {on} WHERE f.orb_words_index MATCH %s{conditions}"

    def _terms(self, cursor: Any, word: str) -> list[str]:
        """Return the indexed words that begin with a word, at most one more than are used."""
        cursor.execute(_TERMS_TABLE)
        cursor.execute(_TERMS, [word, MOST_TERMS + 1])
        return [term for (term,) in cursor.fetchall() if term is not None]


class Tsvector(SearchBackend):
    """PostgreSQL's GIN index of a tsvector."""

    conjunction, position, has_users = " & ", "strpos", True
    matching = "FROM orb_words w WHERE w.vector @@ %s::tsquery"

    @override
    def expression(self, cursor: Any, word: str, *, is_begun: bool) -> str:
        return f"'{word}'{':*' if is_begun else ''}"

    @override
    def words(self) -> str:
        return self.matching

    @override
    def keys(self, key: str, table: str, on: str, conditions: str) -> str:
        # materialized, because a planner without statistics would look for the words again for each row
        found = f"SELECT w.user_id, w.key, w.digest {self.matching}{conditions}"
        return f"WITH w AS MATERIALIZED ({found}) SELECT {key} FROM w JOIN {table} ON {on}"


def backend_of(connection: Any) -> SearchBackend:
    """Return the search index of a connection's database."""
    return Tsvector() if connection.vendor == "postgresql" else Fts5()


class HasTag(Condition):
    """The condition that a list of texts contains a tag."""

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
