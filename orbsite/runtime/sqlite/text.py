"""Reads text columns that contain invalid UTF-8, which SQLite does not check."""

from __future__ import annotations

from typing import Any


def lenient_text(data: bytes) -> str:
    """Decode a text column. Invalid UTF-8 becomes lone surrogates, which readers refuse and `str.encode` restores."""
    return data.decode("utf-8", "surrogateescape")


IS_UTF8 = "orb_is_utf8"
"""The SQL function that tells whether a BLOB is valid UTF-8, on connections that `prepare` has set up."""


def prepare(connection: Any) -> None:
    """Set up a sqlite3 connection to return text with invalid UTF-8, and register the function IS_UTF8."""
    connection.text_factory = lenient_text
    connection.create_function(IS_UTF8, 1, _is_utf8, deterministic=True)


def _is_utf8(data: bytes | None) -> bool:
    try:
        (data or b"").decode()
    except UnicodeDecodeError:
        return False
    return True
