"""The record of Te: a reflection, which the assistant writes after each run."""

from __future__ import annotations

from typing import ClassVar

from orbsite.storage.records.record import Id, Instant, Maybe, Record, Text


class Reflection(Record, frozen=True, kw_only=True):
    """A reflection. User and session are None until it is saved. Ids are unique per user, not over all users."""

    plural: ClassVar[str] = "reflections"
    key_fields: ClassVar[tuple[str, ...]] = ("user_id", "id")
    order_fields: ClassVar[tuple[str, ...]] = ("created_at", "id", "user_id")
    stored_fields: ClassVar[tuple[str, ...]] = ("user_id", "session_id")
    time_field: ClassVar[str | None] = "created_at"
    group_field: ClassVar[str | None] = "session_id"
    tag_field: ClassVar[str | None] = "tags"
    text_fields: ClassVar[tuple[str, ...]] = ("input", "output", "notes")
    private_fields: ClassVar[tuple[str, ...]] = ("input", "output", "notes")

    id: Id
    input: Text
    output: Text
    tags: tuple[Text, ...]
    notes: Maybe[Text] = None
    created_at: Instant
    user_id: Maybe[Id] = None
    session_id: Maybe[Id] = None
