"""Encodes the reflections of a session for the data file; before version 2, without what their position implies."""

from __future__ import annotations

from typing import Any

import msgspec
from typing_extensions import override

from orbsite.storage.encoding.json_printer import SlicedList
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.records.domain import Tree
from te.ownership import DEFAULT_OWNER
from te.records import Reflection

_encode = msgspec.json.Encoder().encode
_PLACES = ("userId", "sessionId")
"""The members that the position of an item may imply."""


def items_as_json(content: list[Any], users: list[str], *, marked: bool = False) -> list[Any] | msgspec.Raw:
    """Return the JSON items of a session. `users` are the users for whom the session is listed.

    In a document that is `marked` as of version 2, every item has its user and its session.
    """
    if marked:
        return _marked_items(content)
    implied = users[0] if users else DEFAULT_OWNER
    if len(users) <= 1 and _are_plain(content, implied):
        return msgspec.Raw(_encode([_item(item) for item in content]))
    return [
        _item_as_json(item, with_user=len(users) > 1 or item.user_id != implied)
        if isinstance(item, Reflection)
        else item
        for item in content
    ]


class SessionItems(SlicedList):
    """The JSON items of a session, as `items_as_json` returns them."""

    def __init__(self, content: list[Any], users: list[str], *, marked: bool) -> None:
        self._content, self._users, self._marked = content, users, marked

    @override
    def __len__(self) -> int:
        return len(self._content)

    @override
    def part(self, start: int, end: int) -> list[Any] | msgspec.Raw:
        return items_as_json(self._content[start:end], self._users, marked=self._marked)


class _Item(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """A reflection without user, session and unknown keys. All its fields are texts, so any JSON encoder suffices."""

    id: str
    input: str
    output: str
    tags: tuple[str, ...]
    notes: str | None = None
    created_at: str = ""


class _MarkedItem(_Item, rename="camel", omit_defaults=True, gc=False):
    """A reflection with user and session, and without unknown keys."""

    user_id: str | None = None
    session_id: str | None = None


def _item(record: Reflection) -> _Item:
    return _Item(record.id, record.input, record.output, record.tags, record.notes, spell(record.created_at))


def _marked_items(content: list[Any]) -> list[Any] | msgspec.Raw:
    if set(map(type, content)) == {Reflection} and all(item.extra is None for item in content):
        return msgspec.Raw(_encode([_marked_item(item) for item in content]))
    return [_marked_as_json(item) if isinstance(item, Reflection) else item for item in content]


def _marked_item(one: Reflection) -> _MarkedItem:
    return _MarkedItem(
        one.id, one.input, one.output, one.tags, one.notes, spell(one.created_at), one.user_id, one.session_id
    )


def _marked_as_json(record: Reflection) -> Tree:
    printed = record.as_json()
    return {name: value for name, value in printed.items() if name not in _PLACES} | {
        name: printed[name] for name in _PLACES
    }


def _are_plain(content: list[Any], owner: str) -> bool:
    """Tell whether all items are reflections of one owner without unknown keys."""
    return set(map(type, content)) == {Reflection} and all(
        item.user_id == owner and item.extra is None for item in content
    )


def _item_as_json(record: Reflection, *, with_user: bool) -> Tree | msgspec.Raw:
    if record.extra is None and not with_user:
        return msgspec.Raw(_encode(_item(record)))
    printed = record.as_json()
    user = printed.pop("userId")
    del printed["sessionId"]
    explicit = {name: value for name, value in (record.extra or {}).items() if name in _PLACES}
    return printed | explicit | ({"userId": user} if with_user else {})
