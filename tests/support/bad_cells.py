"""Cells that no reader can make a record of, written past the stores as another program, or a flipped bit, would."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.db import connections

from te.records import Reflection
from tests.support.factories import BEGIN

SECRET = "a-canary-that-nobody-may-print"


@dataclass(frozen=True)
class Cell:
    """What stands in a column: SQL for the value, with the canary in it where it is a text."""

    column: str
    value: str

    @property
    def id(self) -> str:
        return f"{self.column}={self.value[:40]}"


_HEX = SECRET.encode().hex()
_NO_UTF8 = f"CAST(x'{_HEX}ff' AS TEXT)"

OF_SQLITE = [
    *(Cell(name, _NO_UTF8) for name in ("input", "output", "notes", "session_id", "tags", "extra", "created_at")),
    *(Cell(name, f"x'{_HEX}'") for name in ("input", "output", "notes", "session_id")),
    Cell("tags", f"CAST('[\"{SECRET}\"]' AS BLOB)"),
    *(
        Cell("created_at", one)
        for one in ("'garbage'", "''", "5", "1.5", "9e999", "'20240102'", "'2024-13-45 00:00:00'")
    ),
    Cell("created_at", "'2024-19-39 00:00:00'"),
    Cell("created_at", "'10000-01-01 00:00:00'"),
    Cell("created_at", "'infinity'"),
    Cell("created_at", "x'00'"),
    *(Cell("tags", one) for one in ("'[1'", "'[NaN]'", "'\"text\"'", "'{}'", "'5'", "'null'", "'[1]'", "'[[\"a\"]]'")),
    Cell("tags", '\'["a"],"input":"forged"\''),
    Cell("tags", "'[\"\\ud800\"]'"),
    Cell("tags", "'[\"\\u0000\"]'"),
    *(Cell("extra", one) for one in ("'[]'", "'5'", "'\"text\"'", "'{\"a\": NaN}'", "'{\"a\": 1e999}'", "'{\"a\"'")),
    Cell("extra", '\'{"a": ' + "[" * 200 + "]" * 200 + "}'"),
    Cell("extra", '\'{"a": ' + "9" * 5000 + "}'"),
    Cell("extra", '\'{"a": "\\ud800"}\''),
    Cell("extra", f'\'{{"{SECRET}": "\\ud800"}}\''),
    Cell("extra", "x'7b7d'"),
    Cell("user_id", "''"),
    Cell("notes", "'a' || char(0)"),
]
OF_POSTGRESQL = [
    *(
        Cell("created_at", f"'{one}'")
        for one in ("infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "10000-01-01 00:00:00+00", "294276-12-31")
    ),
    *(Cell("tags", f"'{one}'") for one in ("[1]", '[["a"]]')),
    *(Cell("extra", f"'{one}'") for one in ("[]", "5", '"text"')),
    Cell("extra", '\'{"a": ' + "[" * 200 + "]" * 200 + "}'"),
]


def spoil(alias: str, cell: Cell, key: str, table: str = "te_reflections") -> None:
    """Put a cell into the row with a key, whatever the checks of the table say."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        try:
            cursor.execute(f"UPDATE {table} SET {cell.column} = {cell.value.replace('%', '%%')} WHERE id = %s", [key])
        finally:
            if connection.vendor == "sqlite":
                cursor.execute("PRAGMA ignore_check_constraints = OFF")


def reflections(number: int = 7) -> list[Reflection]:
    """Return reflections of one user, by id from a on, an hour after the other."""
    return [
        Reflection(
            id=chr(97 + at),
            input=f"input {at}",
            output=f"output {at}",
            tags=("x", str(at)),
            notes=f"notes {at}",
            created_at=BEGIN + timedelta(hours=at),
            user_id="ana",
            session_id="s",
        )
        for at in range(number)
    ]
