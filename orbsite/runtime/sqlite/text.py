"""Text as SQLite holds it: any bytes, for SQLite does not check them."""

from __future__ import annotations

from typing import Any


def lenient_text(data: bytes) -> str:
    """Return text; bytes that are no UTF-8 become lone surrogates, which readers refuse and `str.encode` gives back."""
    return data.decode("utf-8", "surrogateescape")


IS_UTF8 = "orb_is_utf8"
"""The function of SQL that tells whether a BLOB is UTF-8, on connections that are prepared."""


def prepare(connection: Any) -> None:
    """Let a connection of sqlite3 return text of any bytes, and ask which is UTF-8."""
    connection.text_factory = lenient_text
    connection.create_function(IS_UTF8, 1, _is_utf8, deterministic=True)


def _is_utf8(data: bytes | None) -> bool:
    try:
        (data or b"").decode()
    except UnicodeDecodeError:
        return False
    return True
