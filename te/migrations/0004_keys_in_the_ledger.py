"""The ledger names reflections by user and id too.

Nearly every change tells its user: it holds the record, or the columns, that were there before. One that tells of a
reflection added by hand holds nothing but its id: its user is the one who has the reflection, or whom another change of
the same id names. Where nothing tells it, the change keeps its old key: it stays in the list of changes, and no
record's history shows it.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from django.db import migrations

BATCH = 2000
OURS = {"domain": "te", "kind": "reflections"}
NOTHING_BEFORE = '{"delete"'


def add_users(apps: Any, schema_editor: Any) -> None:
    changes = _changes(apps, schema_editor)
    for page in _pages(changes.filter(before__startswith=NOTHING_BEFORE)):
        _write(schema_editor, [_keyed(pk, [_user_of(apps, schema_editor, key), *key], True) for pk, key, _ in page])
    for page in _pages(changes.exclude(before__startswith=NOTHING_BEFORE)):
        _write(schema_editor, [_keyed(pk, [_said(before), *key]) for pk, key, before in page])


def leave_users_out(apps: Any, schema_editor: Any) -> None:
    for page in _pages(_changes(apps, schema_editor), parts=2):
        _write(schema_editor, [_keyed(pk, key[1:], before.startswith(NOTHING_BEFORE)) for pk, key, before in page])


def _changes(apps: Any, schema_editor: Any) -> Any:
    return apps.get_model("orbsite", "Change").objects.using(schema_editor.connection.alias).filter(**OURS)


def _pages(changes: Any, parts: int = 1) -> Iterator[list[tuple[int, list[Any], str]]]:
    """Yield, a page at a time, number, key and content of the changes whose keys have so many parts."""
    after = 0
    while page := list(changes.filter(pk__gt=after).order_by("pk").values_list("pk", "key", "before")[:BATCH]):
        after = page[-1][0]
        decoded = [(pk, json.loads(key), before) for pk, key, before in page]
        yield [one for one in decoded if len(one[1]) == parts]


def _user_of(apps: Any, schema_editor: Any, key: list[str]) -> str | None:
    rows = apps.get_model("te", "ReflectionRow").objects.using(schema_editor.connection.alias)
    found = list(rows.filter(id=key[0]).values_list("user_id", flat=True)[:2])
    if not found:
        others = _changes(apps, schema_editor).filter(key=_text(key)).exclude(before__startswith=NOTHING_BEFORE)
        found = list({_said(before) for before in others.values_list("before", flat=True)[:BATCH]})
    return found[0] if len(found) == 1 else None


def _said(before: str) -> str | None:
    """Return the user whom a step names, or the columns of a row that does not decode."""
    content = json.loads(before)
    told = content.get("columns", {}).get("user_id") or content.get("record", {}).get("userId")
    return told if isinstance(told, str) else None


def _keyed(pk: int, key: list[Any], is_new: bool = False) -> tuple[int, list[Any], bool]:
    return pk, key, is_new


def _write(schema_editor: Any, changes: list[tuple[int, list[Any], bool]]) -> None:
    told = [(pk, key, is_new) for pk, key, is_new in changes if None not in key]
    with schema_editor.connection.cursor() as cursor:
        cursor.executemany("UPDATE orb_changes SET key = %s WHERE id = %s", [(_text(key), pk) for pk, key, _ in told])
        steps = [(_text({"delete": OURS["kind"], "key": key}), pk) for pk, key, is_new in told if is_new]
        if steps:
            cursor.executemany("UPDATE orb_changes SET before = %s WHERE id = %s", steps)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Migration(migrations.Migration):
    dependencies = [("te", "0003_key_of_user_and_id"), ("orbsite", "0018_words_by_user")]

    operations = [migrations.RunPython(add_users, leave_users_out)]
