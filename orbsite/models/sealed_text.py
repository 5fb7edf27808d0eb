"""A text field that is sealed where keys are configured, for tables that keep copies of records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from django.db import models
from django.db.models.query_utils import DeferredAttribute
from typing_extensions import override

from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.records.sealed_columns import DAMAGED, DESTROYED, NOT_SEALED, is_sealing, keys_named, keys_of_users
from orbsite.storage.sealing.cells import PLAIN, SEALED, DataKey, escaped, key_in, message_in

if TYPE_CHECKING:
    _TextField: TypeAlias = models.TextField[str, str]
else:  # Django's fields take no type arguments at run time
    _TextField = models.TextField

_KEYS = "_data_keys"
UNOPENED = tuple(f"({reason})" for reason in (NOT_SEALED, DESTROYED, DAMAGED))
"""What stands for a text that cannot be opened."""


class SealedModel(models.Model):
    """A model with sealed texts: it says whose they are, and where they stand."""

    class Meta:
        abstract = True

    def sealed_place(self) -> tuple[str, str] | None:
        """Return whose texts these are, and the name to which they are bound; None if they hold nothing private."""
        raise NotImplementedError

    def plain_text(self, text: str, *, refuses_plain: bool) -> str | None:
        """Return the text of one that is not sealed as a whole, or None if it is refused because it should be."""
        return None if refuses_plain and self.sealed_place() is not None else text


class StoredText(str):
    """A text as the database stores it, sealed or not."""

    __slots__ = ()


class _OpenedText(DeferredAttribute):
    """The opened text of a field; the instance keeps the stored one."""

    @override
    def __get__(self, instance: Any, cls: Any = None) -> Any:
        """Return the text, or in parentheses why it cannot be opened. Raises KeyUnavailable."""
        if instance is None:
            return self
        name = self.field.attname
        kept = instance.__dict__[name] if name in instance.__dict__ else super().__get__(instance, cls)
        if not isinstance(kept, StoredText):
            return kept
        opened = instance.__dict__.setdefault("_opened", {})
        if opened.get(name, ("", ""))[0] is not kept:
            opened[name] = kept, open_text(instance, kept)
        return opened[name][1]

    def __set__(self, instance: Any, value: Any) -> None:
        """Keep a text: one that was read from the database, or one that will be sealed when it is saved."""
        instance.__dict__[self.field.attname] = value


class SealedTextField(_TextField):
    """A text that is sealed in the database."""

    descriptor_class = _OpenedText

    @override
    def deconstruct(self) -> Any:
        """Return what the field is for migrations: a text field, whose column is the same."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:  # noqa: ARG002 -- Django's signature
        """Mark a text as one that the database stores."""
        return StoredText(value) if isinstance(value, str) else value

    @override
    def pre_save(self, model_instance: Any, add: bool) -> Any:
        """Return the text to store, in the caller's transaction; a stored text is not changed."""
        text = model_instance.__dict__.get(self.attname)
        is_new = isinstance(text, str) and not isinstance(text, StoredText)
        return seal_text(model_instance, text) if is_new else text


def seal_text(instance: Any, text: str) -> str:
    """Return a text as the database stores it. In the caller's transaction. Raises KeyUnavailable."""
    place = instance.sealed_place() if is_sealing() else None
    if place is None:
        return escaped(text)
    user, name = place
    keys: dict[str, DataKey] = instance.__dict__.get(_KEYS, {})
    key = keys.get(user) or keys_of_users({user}, instance._state.db or "default")[user]
    return key.seal(text, name)


def prepare_to_seal(instances: Iterable[Any], using: str) -> None:
    """Find the keys for instances that are written together, in the transaction that writes them."""
    if not is_sealing():
        return
    places = [(instance, instance.sealed_place()) for instance in instances]
    keys = keys_of_users({place[0] for _, place in places if place is not None}, using)
    for instance, _ in places:
        instance.__dict__[_KEYS] = keys


def open_text(instance: Any, stored: str) -> str:
    """Return the text of a stored one, or in parentheses why it cannot be opened. Raises KeyUnavailable."""
    if not stored.startswith(SEALED):
        plain: str | None = instance.plain_text(stored.removeprefix(PLAIN), refuses_plain=is_sealing())
        return f"({NOT_SEALED})" if plain is None else plain
    place = instance.sealed_place()
    try:
        message = message_in(stored)
        key_id = key_in(message).hex()
        key = keys_named([key_id], instance._state.db or "default").get(key_id)
        if key is None:
            return f"({DESTROYED})"
        return key.open(message, place[1] if place else "")
    except DocumentCorrupt:
        return f"({DAMAGED})"
