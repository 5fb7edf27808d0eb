"""What a user's records belong to, such as sessions: how many records each has, and when the newest was made."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import Count, Max

from orbsite.storage.conditions import can_be_stored
from orbsite.storage.record import Id, Instant, Record
from orbsite.storage.sql import SqlStore
from orbsite.storage.store import Store


class Group(Record, frozen=True, kw_only=True):
    """A session, or whatever else `group_field` names; no store keeps it."""

    plural: ClassVar[str] = "groups"
    key_fields: ClassVar[tuple[str, ...]] = ("name",)
    order_fields: ClassVar[tuple[str, ...]] = ("name",)

    name: Id
    number: int
    newest: Instant


def groups(
    store: Store, kind: type[Record], user_id: str, *, after: tuple[Any, ...] | None = None, limit: int
) -> list[Group]:
    """Return a user's groups by name, code point by code point: those after a group's `order`, at most `limit`."""
    field, time = str(kind.group_field), str(kind.time_field)
    start = "" if after is None else after[0]
    if not isinstance(store, SqlStore):
        return _counted(store.find(kind, {"user_id": user_id}), field, time, start)[:limit]
    if not can_be_stored(user_id):
        return []
    rows = store.domain.models[kind]._base_manager.using(store.using).filter(user_id=user_id)
    found = rows.filter(**{f"{field}__gt": start}).values_list(field).annotate(number=Count("*"), newest=Max(time))
    return [Group(name=name, number=number, newest=newest) for name, number, newest in found.order_by(field)[:limit]]


def _counted(records: Iterable[Record], field: str, time: str, start: str) -> list[Group]:
    found: dict[str, tuple[int, datetime]] = {}
    for record in records:
        name, moment = getattr(record, field), getattr(record, time)
        number, newest = found.get(name, (0, moment))
        found[name] = (number + 1, max(newest, moment))
    return [
        Group(name=name, number=number, newest=newest)
        for name, (number, newest) in sorted(found.items())
        if name > start
    ]
