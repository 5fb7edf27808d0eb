"""What a database's tables are made of, in a fixed order, so that two ways to make them can be compared."""

from __future__ import annotations

import re
from typing import Any

OURS = r"^(orb|luna|te)_"
_MADE_UP = re.compile(r"_[0-9a-f]{8}_uniq\b")


def schema_of(connection: Any) -> dict[str, list[str]]:
    """Return, by name of a table, its columns, constraints, indexes and triggers.

    Columns of PostgreSQL are sorted, and the names that Django makes up for its constraints are left out.
    """
    with connection.cursor() as cursor:
        return {"sqlite": _sqlite, "postgresql": _postgresql}[connection.vendor](cursor)


def _sqlite(cursor: Any) -> dict[str, list[str]]:
    cursor.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    found: dict[str, list[str]] = {}
    rows = [row for row in cursor.fetchall() if re.match(OURS, row[2])]
    for _, name, _, sql in (row for row in rows if row[0] == "table"):
        opened = sql.index("(")
        columns = [re.split(r"\s", one, maxsplit=1) for one in _parts(sql[opened + 1 : sql.rindex(")")])]
        named = [" ".join(one) for one in columns if one[0].upper() not in ("CONSTRAINT", "CHECK", "UNIQUE")]
        others = [" ".join(one) for one in columns if one[0].upper() in ("CONSTRAINT", "CHECK", "UNIQUE")]
        found[name] = [*named, *sorted(others)]
    for kind, name, table, sql in (row for row in rows if row[0] != "table"):
        found.setdefault(table, []).append(f"{kind} {name}: {sql}")
    return found


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for one in text:
        if quote:
            quote = "" if one == quote else quote
        elif one in "'\"":
            quote = one
        else:
            depth += (one == "(") - (one == ")")
        if one == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += one
    return [part.strip() for part in parts]


def _postgresql(cursor: Any) -> dict[str, list[str]]:
    cursor.execute(
        "SELECT c.oid, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'r' AND n.nspname = current_schema() AND c.relname ~ %s ORDER BY c.relname",
        [OURS],
    )
    found: dict[str, list[str]] = {}
    for oid, name in cursor.fetchall():
        cursor.execute(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text, "
            "a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a "
            "LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
            "WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            [oid],
        )
        told = sorted(" ".join(map(str, row)) for row in cursor.fetchall())
        cursor.execute(
            "SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s", [oid]
        )
        told += sorted(_MADE_UP.sub("_key", row[0]) for row in cursor.fetchall())
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s AND schemaname = current_schema()", [name])
        found[name] = [*told, *sorted(_MADE_UP.sub("_key", row[0]) for row in cursor.fetchall())]
    return found
