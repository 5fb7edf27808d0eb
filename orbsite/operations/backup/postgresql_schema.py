"""What a PostgreSQL dump does when it is restored, statement by statement: code that is not known stays out.

The archive is written as the script that `pg_restore` would run. Each of its statements is one that makes a table that
is known, or a part of one, or one that the database of now has in the same words. Functions, triggers, rules, views and
whatever else runs on its own are none of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_NAME = r'(?:public\.)?(?:"[^"\\]+"|[a-z_][a-z0-9_$]*)'
_HARMLESS = re.compile(
    rf"""
    SET\ [a-z_]+\ =\ [^;]*
    | SELECT\ pg_catalog\.set_config\('search_path',\ '',\ false\)
    | SELECT\ pg_catalog\.setval\('[^'\\]*',\ \d+,\ (?:true|false)\)
    | (?:CREATE\ SCHEMA|ALTER\ SCHEMA)\ public\b.*
    | COMMENT\ ON\ (?:SCHEMA|TABLE|COLUMN|INDEX|EXTENSION)\ .*
    | (?:GRANT|REVOKE)\ .*
    | ALTER\ (?:TABLE|SEQUENCE)\ .*\ OWNER\ TO\ \S+
    | CREATE\ SEQUENCE\ {_NAME}.*
    | ALTER\ SEQUENCE\ {_NAME}\ OWNED\ BY\ .*
    | ALTER\ TABLE\ (?:ONLY\ )?{_NAME}\ CLUSTER\ ON\ \S+
    | ALTER\ TABLE\ (?:ONLY\ )?{_NAME}\ ALTER\ COLUMN\ \S+\ ADD\ GENERATED\ (?:BY\ DEFAULT|ALWAYS)\ AS\ IDENTITY\ .*
    | ALTER\ TABLE\ (?:ONLY\ )?{_NAME}\ ALTER\ COLUMN\ \S+\ SET\ DEFAULT\ nextval\('[^'\\]*'::regclass\)
    """,
    re.VERBOSE | re.DOTALL,
)
_OF_TABLE = re.compile(
    rf"CREATE TABLE ({_NAME}) \(.*\)"
    rf"|ALTER TABLE (?:ONLY )?({_NAME}) ADD CONSTRAINT .*"
    rf"|CREATE (?:UNIQUE )?INDEX \S+ ON ({_NAME}) .*"
    rf"|COPY ({_NAME}) (?:\([^;]*\) )?FROM stdin",
    re.DOTALL,
)
_CODE = re.compile(
    r"\b(?:EXECUTE|FUNCTION|PROCEDURE|TRIGGER|RULE|PROGRAM|DO|SELECT|INHERITS)\b"
    r"|\b(?:pg_(?!catalog\b)\w+|lo_\w+|dblink\w*|\w+_to_xml\w*|set_config|nextval)\s*\("
)
"""What has no place in the definition of a table: words that begin code, and functions that reach beyond it."""
_SPACE = re.compile(r"\s+")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/", re.DOTALL)
_OPEN = re.compile(r"['\"]|\$\w*\$|/\*")
"""What is left of a quotation that does not end."""
_SHOWN = 60


def unknown(script: Iterable[str], tables: set[str], now: set[str]) -> Iterator[str]:
    """Yield the beginnings of the statements of a script that are neither harmless nor in the database of now."""
    for statement in statements(script):
        if not _is_known(statement, tables, now):
            yield statement[:_SHOWN]


def statements(script: Iterable[str]) -> Iterator[str]:
    """Yield the statements of a script of pg_dump or pg_restore, in one line each, without the rows of COPY."""
    lines = iter(script)
    begun = ""
    for line in lines:
        if not begun and (not line.strip() or line.startswith(("--", "\\"))):
            continue
        begun += line
        if not line.rstrip().endswith(";") or _OPEN.search(_QUOTED.sub("", begun)):
            continue
        statement = _SPACE.sub(" ", begun).strip().removesuffix(";").rstrip()
        begun = ""
        yield statement
        if statement.startswith("COPY ") and statement.endswith(" FROM stdin"):
            _skip_rows(lines)
    if begun.strip():
        yield _SPACE.sub(" ", begun).strip()


def _skip_rows(lines: Iterator[str]) -> None:
    for line in lines:
        if line.rstrip("\n") == "\\.":
            return


def _is_known(statement: str, tables: set[str], now: set[str]) -> bool:
    if statement in now:
        return True
    bare = _QUOTED.sub("''", statement)
    if ";" in bare or "\\" in statement:
        return False
    if _HARMLESS.fullmatch(statement):
        return True
    match = _OF_TABLE.fullmatch(statement)
    if match is None or _CODE.search(bare):
        return False
    return next(filter(None, match.groups())).removeprefix("public.").strip('"') in tables
