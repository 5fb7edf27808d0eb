"""A third domain, as a newcomer would add it: what the assistant did."""

from __future__ import annotations

from typing import ClassVar

from orbsite.storage.records.record import Id, Instant, Maybe, Record, Text


class Action(Record, frozen=True, kw_only=True):
    plural: ClassVar[str] = "actions"
    key_fields: ClassVar[tuple[str, ...]] = ("id",)
    order_fields: ClassVar[tuple[str, ...]] = ("done_at", "id")
    time_field: ClassVar[str | None] = "done_at"
    text_fields: ClassVar[tuple[str, ...]] = ("title",)
    stored_fields: ClassVar[tuple[str, ...]] = ("user_id",)

    id: Id
    title: Text
    done_at: Instant
    user_id: Maybe[Id] = None
