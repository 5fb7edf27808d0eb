"""The records of Luna: profiles with preferences and constraints per mode, and active modes."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

from orbsite.storage.records.record import Id, Instant, JSONObject, Maybe, Record, Text, Value


class Constraint(Value, frozen=True, kw_only=True):
    """A rule for the assistant in a mode. In older files a constraint is only its description, as a text."""

    when_missing: ClassVar[dict[str, Any]] = {"type": "other", "active": True}

    id: Text
    type: Text
    active: bool
    tool_id: Maybe[Text] = None
    max_risk: Maybe[Text] = None
    applies_to_roles: Maybe[tuple[Text, ...]] = None
    description: Maybe[Text] = None


AnyConstraint: TypeAlias = Text | Constraint


class Profile(Record, frozen=True, kw_only=True):
    """The preferences and constraints of a user in a mode: lists, or JSON objects from the earlier hosted system."""

    plural: ClassVar[str] = "profiles"
    key_fields: ClassVar[tuple[str, ...]] = ("user_id", "mode_id")
    order_fields: ClassVar[tuple[str, ...]] = ("user_id", "mode_id")
    time_field: ClassVar[str | None] = "updated_at"
    version_field: ClassVar[str | None] = "updated_at"
    tag_field: ClassVar[str | None] = "preferences"
    text_fields: ClassVar[tuple[str, ...]] = ("preferences",)
    private_fields: ClassVar[tuple[str, ...]] = ("preferences", "constraints")
    when_missing: ClassVar[dict[str, Any]] = {"mode_id": "default"}

    user_id: Id
    mode_id: Id
    preferences: tuple[Text, ...] | JSONObject
    constraints: tuple[AnyConstraint, ...] | JSONObject
    updated_at: Instant

    def remarks(self) -> list[tuple[str, str]]:
        """Return a remark if the profile has constraints of both forms, texts and objects."""
        if isinstance(self.constraints, dict):
            return []
        forms = {isinstance(constraint, str) for constraint in self.constraints}
        return [("constraints", "texts and objects stand side by side; both are kept")] if len(forms) > 1 else []


class ActiveMode(Record, frozen=True, kw_only=True):
    """The active mode of a user. Data files do not contain its `updated_at`."""

    plural: ClassVar[str] = "active_modes"
    key_fields: ClassVar[tuple[str, ...]] = ("user_id",)
    order_fields: ClassVar[tuple[str, ...]] = ("user_id",)
    outside_digest: ClassVar[frozenset[str]] = frozenset({"updatedAt"})
    takes_unknown_keys: ClassVar[bool] = False

    user_id: Id
    mode_id: Id
    updated_at: Maybe[Instant] = None
