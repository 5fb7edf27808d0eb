"""How each database says what retention asks of it: expressions over a table's columns; values are parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from orbsite.runtime.sqlite.text import IS_UTF8
from orbsite.storage.records.record import Id, Instant, Text
from orbsite.storage.retention.policy import DAILY, MONTHLY, WEEKLY
from orbsite.storage.sql.constraints import ID_LENGTH

_WHOLE = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
_FINE = f"{_WHOLE}.{'[0-9]' * 6}"


class Dialect(ABC):
    """What a database understands; a column is given as it stands in the statement."""

    place: str
    """What finds a row fastest, and lets rows that lie together be removed together."""

    @abstractmethod
    def instant(self, moment: datetime) -> Any:
        """Return an instant as the columns are compared with it."""

    @abstractmethod
    def is_readable(self, column: str) -> str:
        """Return the condition that an instant is one: in another spelling it would be compared as a text."""

    @abstractmethod
    def start_of(self, period: str, column: str) -> str:
        """Return the start of the period of an instant."""

    @abstractmethod
    def has_tag(self, column: str, tags: Sequence[str]) -> tuple[str, list[Any]]:
        """Return the condition that a list has one of these texts, and its values."""

    @abstractmethod
    def quoted(self, column: str) -> str:
        """Return a text as JSON."""

    @abstractmethod
    def spelled(self, column: str) -> str:
        """Return an instant as JSON."""

    @abstractmethod
    def json(self, column: str) -> str:
        """Return JSON as text."""

    @abstractmethod
    def is_text(self, column: str) -> str:
        """Return the condition that a column holds a text."""

    @abstractmethod
    def is_instant(self, column: str) -> str:
        """Return the condition that an instant is in the calendar."""

    @abstractmethod
    def is_list_of_texts(self, column: str) -> str:
        """Return the condition that a list holds texts alone."""

    @abstractmethod
    def is_object(self, column: str) -> str:
        """Return the condition that JSON is an object."""

    def printed(self, declared: Any, column: str) -> str:
        """Return a column as JSON, by what its record declares."""
        if declared in (Text, Id):
            return self.quoted(column)
        return self.spelled(column) if declared == Instant else self.json(column)

    def decodes(self, declared: Any, column: str) -> str:
        """Return the condition that a column holds what its record declares, as far as the database can tell."""
        if declared == Id:
            return f"({self.is_text(column)} AND length({column}) BETWEEN 1 AND {ID_LENGTH})"
        if declared == Text:
            return self.is_text(column)
        if declared == Instant:
            return self.is_instant(column)
        return self.is_list_of_texts(column) if declared == tuple[Text, ...] else "TRUE"

    def needs_a_look(self, declared: Any, column: str) -> str:
        """Return the condition that only a reader can tell whether a column decodes, where `decodes` holds."""
        return "FALSE" if declared in (Text, Id, Instant, tuple[Text, ...]) else f"{column} IS NOT NULL"

    @abstractmethod
    def cell(self, declared: Any, column: str) -> str:
        """Return a column as a reader of cells takes it."""


class Sqlite(Dialect):
    """SQLite, where instants are texts as Django writes them."""

    place = "rowid"

    def instant(self, moment: datetime) -> Any:
        """Return an instant in UTC without saying so."""
        return str(moment.astimezone(UTC).replace(tzinfo=None))

    def is_readable(self, column: str) -> str:
        """Return the condition that it is spelled as Django does."""
        return f"({column} GLOB '{_FINE}' OR {column} GLOB '{_WHOLE}')"

    def start_of(self, period: str, column: str) -> str:
        """Return a date, or a part of one."""
        starts = {
            DAILY: f"substr({column}, 1, 10)",
            WEEKLY: f"date(substr({column}, 1, 10), '-6 days', 'weekday 1')",
            MONTHLY: f"substr({column}, 1, 7)",
        }
        return starts[period]

    def has_tag(self, column: str, tags: Sequence[str]) -> tuple[str, list[Any]]:
        """Look at each text of the list."""
        marks = ", ".join(["%s"] * len(tags))
        return f"EXISTS (SELECT 1 FROM json_each({text_list(column)}) WHERE value IN ({marks}))", list(tags)

    def quoted(self, column: str) -> str:
        """Quote it."""
        return f"json_quote({column})"

    def spelled(self, column: str) -> str:
        """Say that it is in UTC."""
        return f"""'"' || replace({column}, ' ', 'T') || 'Z"'"""

    def json(self, column: str) -> str:
        """Take it as it is."""
        return column

    def is_text(self, column: str) -> str:
        """Ask for its type, which any row may choose, and whether it is UTF-8, which SQLite does not ask."""
        is_clean = f"instr({column}, char(0)) = 0 AND {IS_UTF8}(CAST({column} AS BLOB))"
        return f"(typeof({column}) = 'text' AND {is_clean})"

    def is_instant(self, column: str) -> str:
        """Have it spelled again: days that no month has come out as others."""
        seconds = f"substr({column}, 1, 19)"
        same = f"strftime('%%Y-%%m-%%d %%H:%%M:%%S', {seconds}, '+0 days') = {seconds}"
        return f"(typeof({column}) = 'text' AND {same} AND {column} >= '0001')"

    def is_list_of_texts(self, column: str) -> str:
        """Look at each item's type."""
        texts = f"NOT EXISTS (SELECT 1 FROM json_each({text_list(column)}) WHERE type <> 'text')"
        return f"({self.is_text(column)} AND {text_list(column)} IS {column} AND {texts})"

    def needs_a_look(self, declared: Any, column: str) -> str:
        """Leave escapes in texts, which SQLite keeps as they are written, to a reader too."""
        if declared == tuple[Text, ...]:
            return f"instr({column}, '\\u') > 0"
        return super().needs_a_look(declared, column)

    def cell(self, declared: Any, column: str) -> str:  # noqa: ARG002 -- whatever it is
        """Return an expression, of which sqlite3 knows no declared type."""
        return f"+{column}"

    def is_object(self, column: str) -> str:
        """Ask for its type, where it is JSON at all."""
        is_one = f"CASE WHEN json_valid({column}) THEN json_type({column}) = 'object' ELSE FALSE END"
        return f"({self.is_text(column)} AND {is_one})"


def text_list(column: str) -> str:
    """Return the list that a column holds; an empty one where it holds none, which SQLite would refuse to look into."""
    is_one = f"json_valid({column}) AND json_type({column}) = 'array'"
    return f"CASE WHEN typeof({column}) = 'text' THEN CASE WHEN {is_one} THEN {column} ELSE '[]' END ELSE '[]' END"


class Postgresql(Dialect):
    """PostgreSQL."""

    place = "ctid"

    def instant(self, moment: datetime) -> Any:
        """Return it as it is."""
        return moment

    def is_readable(self, column: str) -> str:
        """Leave out infinity, and the years that Python does not know."""
        return f"{column} BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'"

    def start_of(self, period: str, column: str) -> str:
        """Cut it."""
        unit = {DAILY: "day", WEEKLY: "week", MONTHLY: "month"}[period]
        return f"date_trunc('{unit}', {column} AT TIME ZONE 'UTC')"

    def has_tag(self, column: str, tags: Sequence[str]) -> tuple[str, list[Any]]:
        """Ask for any of them."""
        return f"jsonb_exists_any({column}, %s::text[])", [list(tags)]

    def quoted(self, column: str) -> str:
        """Quote it."""
        return f"to_json({column})::text"

    def spelled(self, column: str) -> str:
        """Spell it in UTC, whatever the session's zone is."""
        return f"""'"' || to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"'"""

    def json(self, column: str) -> str:
        """Print it."""
        return f"{column}::text"

    def is_text(self, column: str) -> str:  # noqa: ARG002 -- the column's type says so
        """Know it."""
        return "TRUE"

    def is_instant(self, column: str) -> str:
        """Know it, but for the years that Python does not know."""
        return self.is_readable(column)

    def is_list_of_texts(self, column: str) -> str:
        """Look for any other type in it."""
        return f"""NOT jsonb_path_exists({column}, '$[*] ? (@.type() != "string")')"""

    def cell(self, declared: Any, column: str) -> str:
        """Have the server print what psycopg would load."""
        return column if declared in (Text, Id) else f"{column}::text"

    def is_object(self, column: str) -> str:
        """Ask for its type."""
        return f"jsonb_typeof({column}) = 'object'"
