"""The functions and triggers that keep keys unique in a table that is partitioned by time.

The key of each inserted row is entered into a table of keys, and that of each deleted row is removed from it. A key
whose row was dropped with its partition is taken over by the next row with it. The statements are spelled as pg_dump
prints them, so that a restore knows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from orbsite.storage.partitions import KEYS, ON_TAKEN, RETRY, SKIP

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
_TAKE = """\
  LOOP
    INSERT INTO {keys} ({names}) VALUES ({new}) ON CONFLICT DO NOTHING;
    EXIT WHEN FOUND;
    PERFORM 1 FROM {keys} WHERE {same_key} FOR UPDATE;
    CONTINUE WHEN NOT FOUND;
    EXIT WHEN NOT EXISTS (SELECT 1 FROM {table} WHERE {same_key});
    IF current_setting('{setting}', true) = '{skip}' THEN
      RETURN NULL;
    ELSIF current_setting('{setting}', true) = '{retry}' THEN
      RAISE serialization_failure USING MESSAGE = 'another transaction has inserted a row with this key';
    END IF;
    RAISE unique_violation USING MESSAGE = 'a row with this key exists', CONSTRAINT = '{name}_key';
  END LOOP;
  RETURN NEW;
"""
_RELEASE = """\
  DELETE FROM {keys} WHERE {old_key};
  RETURN OLD;
"""
_KEEP = """\
  IF {changed} THEN
    RAISE check_violation USING MESSAGE = 'the key of a row never changes; insert another row';
  END IF;
  RETURN NEW;
"""


def trigger_statements(schema: str, table: str, key: Sequence[str]) -> Iterator[str]:
    """Yield the statements that make the functions and triggers of a table with these key columns."""
    columns = [quoted(name) for name in key]
    words = {
        "keys": f"{quoted(schema)}.{quoted(f'{table}_{KEYS}')}",
        "table": f"{quoted(schema)}.{quoted(table)}",
        "name": table,
        "names": ", ".join(columns),
        "new": ", ".join(f"NEW.{name}" for name in columns),
        "same_key": " AND ".join(f"{name} = NEW.{name}" for name in columns),
        "old_key": " AND ".join(f"{name} = OLD.{name}" for name in columns),
        "changed": " OR ".join(f"OLD.{name} <> NEW.{name}" for name in columns),
        "setting": ON_TAKEN, "skip": SKIP, "retry": RETRY,
    }  # fmt: skip
    for name, event, body in (
        ("take_key", "INSERT", _TAKE),
        ("release_key", "DELETE", _RELEASE),
        ("keep_key", f"UPDATE OF {words['names']}", _KEEP),
    ):
        function = f"{quoted(schema)}.{quoted(f'{table}_{name}')}()"
        begun = f"CREATE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS $$"
        yield f"{begun}\nBEGIN\n{body.format(**words)}END\n$$"
        yield (
            f"CREATE TRIGGER {quoted(f'{table}_{name}')} BEFORE {event} ON {words['table']} "
            f"FOR EACH ROW EXECUTE FUNCTION {function}"
        )


def quoted(name: str) -> str:
    """Return a name in SQL, with quotes only where it needs them."""
    return name if _PLAIN.fullmatch(name) else '"{}"'.format(name.replace('"', '""'))
