"""A user's sessions, or other groups of records: the number of records in each, and the time of the newest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, ClassVar

from django.db import connections
from django.db.models import Count, F, Max, Q

from orbsite.storage.base.store import Store
from orbsite.storage.findings import Finding
from orbsite.storage.records.record import Id, Instant, Record
from orbsite.storage.records.unreadable import Unread
from orbsite.storage.sql.filters import can_be_stored
from orbsite.storage.sql.models import column_of
from orbsite.storage.sql.raw_columns import IsPlainInstant, RawValue, be_lenient
from orbsite.storage.sql.store import SqlStore


class Group(Record, frozen=True, kw_only=True):
    """A session, or another group of records that share `group_field`. It is computed, and never stored."""

    plural: ClassVar[str] = "groups"
    key_fields: ClassVar[tuple[str, ...]] = ("name",)
    order_fields: ClassVar[tuple[str, ...]] = ("name",)

    name: Id
    number: int
    newest: Instant


def groups(
    store: Store,
    kind: type[Record],
    user_id: str,
    *,
    after: tuple[Any, ...] | None = None,
    limit: int,
    findings: list[Finding] | None = None,
) -> list[Group]:
    """Return a user's groups sorted by name, by code point: those after the cursor `after`, at most `limit`.

    Only records that decode are counted; items that do not decode are reported as by `Store.find`.
    """
    field, time = str(kind.group_field), str(kind.time_field)
    start = "" if after is None else after[0]
    if not isinstance(store, SqlStore):
        return _counted(store.find(kind, {"user_id": user_id}, findings=findings), field, time, start)[:limit]
    if not can_be_stored(user_id):
        return []
    return list(islice(_of_rows(store, kind, user_id, start, limit=limit, findings=findings), limit))


def _of_rows(
    store: SqlStore, kind: type[Record], user_id: str, start: Any, *, limit: int, findings: list[Finding] | None
) -> Iterator[Group]:
    """Yield groups counted by the database; a group with a time that it cannot compare is counted in Python."""
    field, time = str(kind.group_field), str(kind.time_field)
    model = store.domain.models[kind]
    be_lenient(connections[store.using])
    rows = model._base_manager.using(store.using).filter(user_id=user_id)
    while True:
        rest = rows.filter(**{f"{field}__gt": RawValue(start, column_of(model, field))})
        plain = rest.values_list(field).annotate(
            number=Count("*"),
            plain=Count("pk", filter=Q(IsPlainInstant(F(time)))),
            newest=Max(time, filter=Q(IsPlainInstant(F(time)))),
        )
        page = list(plain.order_by(field)[:limit])
        for name, number, plain_number, newest in page:
            if number == plain_number and can_be_stored(name):
                yield Group(name=name, number=number, newest=newest)
            else:
                yield from _one_by_one(
                    store, kind, rows.filter(**{field: RawValue(name, column_of(model, field))}), findings
                )
        if len(page) < limit:
            return
        start = page[-1][0]


def _one_by_one(store: SqlStore, kind: type[Record], rows: Any, findings: list[Finding] | None) -> Iterator[Group]:
    field, time = str(kind.group_field), str(kind.time_field)
    with Unread(findings) as unread:
        yield from _counted(store.records_of(kind, rows, unread), field, time, "")


def _counted(records: Iterable[Record], field: str, time: str, start: str) -> list[Group]:
    counts: dict[str, tuple[int, datetime]] = {}
    for record in records:
        name, moment = getattr(record, field), getattr(record, time)
        number, newest = counts.get(name, (0, moment))
        counts[name] = (number + 1, max(newest, moment))
    return [
        Group(name=name, number=number, newest=newest)
        for name, (number, newest) in sorted(counts.items())
        if name > start
    ]
