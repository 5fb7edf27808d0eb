"""Checks every statement of a PostgreSQL dump before it is restored, so that no unknown code can run.

`pg_restore` can write an archive as a script. Each statement of it has to define a known table or a part of one, or to
exist in the current database in the same words. Functions, triggers, rules, views and other objects with code do
neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from orbsite.storage.partitions import is_of_partitions

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
    | ALTER\ TABLE\ ONLY\ {_NAME}\ ATTACH\ PARTITION\ {_NAME}\ DEFAULT
    | ALTER\ TABLE\ ONLY\ {_NAME}\ ATTACH\ PARTITION\ {_NAME}\ FOR\ VALUES\ FROM\ \('[^'\\]*'\)\ TO\ \('[^'\\]*'\)
    | ALTER\ INDEX\ {_NAME}\ ATTACH\ PARTITION\ {_NAME}
    """,
    re.VERBOSE | re.DOTALL,
)
_OF_TABLE = re.compile(
    rf"CREATE TABLE ({_NAME}) \(.*\)"
    rf"|ALTER TABLE (?:ONLY )?({_NAME}) ADD CONSTRAINT .*"
    rf"|CREATE (?:UNIQUE )?INDEX \S+ ON (?:ONLY )?({_NAME}) .*"
    rf"|COPY ({_NAME}) (?:\([^;]*\) )?FROM stdin",
    re.DOTALL,
)
_CODE = re.compile(
    r"\b(?:EXECUTE|FUNCTION|PROCEDURE|TRIGGER|RULE|PROGRAM|DO|SELECT|INHERITS)\b"
    r"|\b(?:pg_(?!catalog\b)\w+|lo_\w+|dblink\w*|\w+_to_xml\w*|set_config|nextval)\s*\("
)
"""What the definition of a table must not contain: keywords that run code, and functions with side effects."""
_SPACE = re.compile(r"\s+")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/", re.DOTALL)
_OPEN = re.compile(r"['\"]|\$\w*\$|/\*")
"""The start of a quotation that does not end."""
_SHOWN = 60


def unknown(script: Iterable[str], tables: set[str], now: set[str]) -> Iterator[str]:
    """Yield the first characters of each statement that is neither harmless nor in the current database."""
    for statement in statements(script):
        if not _is_known(statement, tables, now):
            yield statement[:_SHOWN]


def statements(script: Iterable[str]) -> Iterator[str]:
    """Yield each statement of a script of pg_dump or pg_restore on one line, without the rows of COPY."""
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
    name = next(filter(None, match.groups())).removeprefix("public.").strip('"')
    return name in tables or any(is_of_partitions(table, name) for table in tables)
