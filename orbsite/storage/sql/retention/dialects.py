"""The SQL dialects of retention: expressions over a table's columns, with values as parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from orbsite.runtime.sqlite.text import IS_UTF8
from orbsite.storage.records.record import Id, Instant, Text
from orbsite.storage.retention.policy import DAILY, MONTHLY, WEEKLY
from orbsite.storage.sql.constraints import ID_LENGTH

_WHOLE = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
_FINE = f"{_WHOLE}.{'[0-9]' * 6}"


class Dialect(ABC):
    """The SQL expressions of one database. `column` is always the SQL of a column."""

    place: str
    """The column with a row's physical place, which finds a row fastest and orders rows as they are stored."""

    @abstractmethod
    def instant(self, moment: datetime) -> Any:
        """Return a time as the parameter for comparisons with columns."""

    @abstractmethod
    def is_readable(self, column: str) -> str:
        """Return the condition that a time has a format that the database compares correctly."""

    @abstractmethod
    def start_of(self, period: str, column: str) -> str:
        """Return the expression for the start of the period that a time is in."""

    @abstractmethod
    def has_tag(self, column: str, tags: Sequence[str]) -> tuple[str, list[Any]]:
        """Return the condition that a list contains one of these texts, and its parameters."""

    @abstractmethod
    def quoted(self, column: str) -> str:
        """Return the expression for a text column as JSON."""

    @abstractmethod
    def spelled(self, column: str) -> str:
        """Return the expression for a time column as JSON."""

    @abstractmethod
    def json(self, column: str) -> str:
        """Return the expression for a JSON column as text."""

    @abstractmethod
    def is_text(self, column: str) -> str:
        """Return the condition that a column holds a text."""

    @abstractmethod
    def is_instant(self, column: str) -> str:
        """Return the condition that a time is a valid date and time."""

    @abstractmethod
    def is_list_of_texts(self, column: str) -> str:
        """Return the condition that a column holds a list of texts only."""

    @abstractmethod
    def is_object(self, column: str) -> str:
        """Return the condition that JSON is an object."""

    def printed(self, declared: Any, column: str) -> str:
        """Return the expression for a column as JSON, by the declared type."""
        if declared in (Text, Id):
            return self.quoted(column)
        return self.spelled(column) if declared == Instant else self.json(column)

    def decodes(self, declared: Any, column: str) -> str:
        """Return the condition that a column's value fits the declared type, by the checks that the database has."""
        if declared == Id:
            return f"({self.is_text(column)} AND length({column}) BETWEEN 1 AND {ID_LENGTH})"
        if declared == Text:
            return self.is_text(column)
        if declared == Instant:
            return self.is_instant(column)
        return self.is_list_of_texts(column) if declared == tuple[Text, ...] else "TRUE"

    def needs_a_look(self, declared: Any, column: str) -> str:
        """Return the condition that `decodes` is not sufficient, so that the column must be decoded in Python."""
        return "FALSE" if declared in (Text, Id, Instant, tuple[Text, ...]) else f"{column} IS NOT NULL"

    @abstractmethod
    def cell(self, declared: Any, column: str) -> str:
        """Return the expression for a raw column, as `read_cells` takes it."""


class Sqlite(Dialect):
    """The expressions of SQLite, where times are texts in Django's format."""

    place = "rowid"

    @override
    def instant(self, moment: datetime) -> Any:
        """Return the time as text in UTC without a zone."""
        return str(moment.astimezone(UTC).replace(tzinfo=None))

    @override
    def is_readable(self, column: str) -> str:
        return f"({column} GLOB '{_FINE}' OR {column} GLOB '{_WHOLE}')"

    @override
    def start_of(self, period: str, column: str) -> str:
        starts = {
            DAILY: f"substr({column}, 1, 10)",
            WEEKLY: f"date(substr({column}, 1, 10), '-6 days', 'weekday 1')",
            MONTHLY: f"substr({column}, 1, 7)",
        }
        return starts[period]

    @override
    def has_tag(self, column: str, tags: Sequence[str]) -> tuple[str, list[Any]]:
        marks = ", ".join(["%s"] * len(tags))
        return f"EXISTS (SELECT 1 FROM json_each({text_list(column)}) WHERE value IN ({marks}))", list(tags)

    @override
    def quoted(self, column: str) -> str:
        return f"json_quote({column})"

    @override
    def spelled(self, column: str) -> str:
        return f"""'"' || replace({column}, ' ', 'T') || 'Z"'"""

    @override
    def json(self, column: str) -> str:
        return column

    @override
    def is_text(self, column: str) -> str:
        # in SQLite each row has its own type, and text need not be UTF-8
        is_clean = f"instr({column}, char(0)) = 0 AND {IS_UTF8}(CAST({column} AS BLOB))"
        return f"(typeof({column}) = 'text' AND {is_clean})"

    @override
    def is_instant(self, column: str) -> str:
        # strftime changes a date that does not exist, such as 30 February
        seconds = f"substr({column}, 1, 19)"
        same = f"strftime('%%Y-%%m-%%d %%H:%%M:%%S', {seconds}, '+0 days') = {seconds}"
        return f"(typeof({column}) = 'text' AND {same} AND {column} >= '0001')"

    @override
    def is_list_of_texts(self, column: str) -> str:
        texts = f"NOT EXISTS (SELECT 1 FROM json_each({text_list(column)}) WHERE type <> 'text')"
        return f"({self.is_text(column)} AND {text_list(column)} IS {column} AND {texts})"

    @override
    def needs_a_look(self, declared: Any, column: str) -> str:
        # SQLite stores escapes in JSON unchanged, and does not check them
        if declared == tuple[Text, ...]:
            return f"instr({column}, '\\u') > 0"
        return super().needs_a_look(declared, column)

    @override
    def cell(self, declared: Any, column: str) -> str:
        # the result of an expression has no declared type, so sqlite3 does not convert it
        return f"+{column}"

    @override
    def is_object(self, column: str) -> str:
        is_one = f"CASE WHEN json_valid({column}) THEN json_type({column}) = 'object' ELSE FALSE END"
        return f"({self.is_text(column)} AND {is_one})"


def text_list(column: str) -> str:
    """Return the SQLite expression for a column's list; an empty list for other values, which json_each rejects."""
    is_one = f"json_valid({column}) AND json_type({column}) = 'array'"
    return f"CASE WHEN typeof({column}) = 'text' THEN CASE WHEN {is_one} THEN {column} ELSE '[]' END ELSE '[]' END"


class Postgresql(Dialect):
    """The expressions of PostgreSQL."""

    place = "ctid"

    @override
    def instant(self, moment: datetime) -> Any:
        return moment

    @override
    def is_readable(self, column: str) -> str:
        """Return the condition that a time is in the years 1 to 9999, and not infinite."""
        return f"{column} BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'"

    @override
    def start_of(self, period: str, column: str) -> str:
        unit = {DAILY: "day", WEEKLY: "week", MONTHLY: "month"}[period]
        return f"date_trunc('{unit}', {column} AT TIME ZONE 'UTC')"

    @override
    def has_tag(self, column: str, tags: Sequence[str]) -> tuple[str, list[Any]]:
        return f"jsonb_exists_any({column}, %s::text[])", [list(tags)]

    @override
    def quoted(self, column: str) -> str:
        return f"to_json({column})::text"

    @override
    def spelled(self, column: str) -> str:
        return f"""'"' || to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"'"""

    @override
    def json(self, column: str) -> str:
        return f"{column}::text"

    @override
    def is_text(self, column: str) -> str:
        """Return TRUE, because the type of the column guarantees it."""
        return "TRUE"

    @override
    def is_instant(self, column: str) -> str:
        return self.is_readable(column)

    @override
    def is_list_of_texts(self, column: str) -> str:
        return f"""NOT jsonb_path_exists({column}, '$[*] ? (@.type() != "string")')"""

    @override
    def cell(self, declared: Any, column: str) -> str:
        return column if declared in (Text, Id) else f"{column}::text"

    @override
    def is_object(self, column: str) -> str:
        return f"jsonb_typeof({column}) = 'object'"
