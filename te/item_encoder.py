"""Reflections as they stand in the file: a session at a time where they say nothing that their place does not say."""

from __future__ import annotations

from typing import Any

import msgspec

from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.records.domain import Tree
from te.ownership import NOBODY
from te.records import Reflection

_encode = msgspec.json.Encoder().encode


def items_as_json(content: list[Any], users: list[str]) -> list[Any] | msgspec.Raw:
    """Return the items of a session that these users are listed for."""
    implied = users[0] if users else NOBODY
    if len(users) <= 1 and _say_no_more(content, implied):
        return msgspec.Raw(_encode([_item(item) for item in content]))
    return [
        _item_as_json(item, says_user=len(users) > 1 or item.user_id != implied)
        if isinstance(item, Reflection)
        else item
        for item in content
    ]


class _Item(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """A reflection that says nothing that its place does not say too: texts alone, which every printer spells alike."""

    id: str
    input: str
    output: str
    tags: tuple[str, ...]
    notes: str | None = None
    created_at: str = ""


def _item(record: Reflection) -> _Item:
    return _Item(record.id, record.input, record.output, record.tags, record.notes, spell(record.created_at))


def _say_no_more(content: list[Any], owner: str) -> bool:
    """Tell whether these are reflections, all of one owner and without unknown keys."""
    return set(map(type, content)) == {Reflection} and all(
        item.user_id == owner and item.extra is None for item in content
    )


def _item_as_json(record: Reflection, *, says_user: bool) -> Tree | msgspec.Raw:
    if record.extra is None and not says_user:
        return msgspec.Raw(_encode(_item(record)))
    printed = record.as_json()
    user = printed.pop("userId")
    del printed["sessionId"]
    said = {name: value for name, value in (record.extra or {}).items() if name in ("userId", "sessionId")}
    return printed | said | ({"userId": user} if says_user else {})
