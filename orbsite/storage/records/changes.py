"""The steps of a save as a journal stores them: records that are put, and keys that are deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.records.decoder import Reader
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Extra, Key, Record, field_names


class Put(msgspec.Struct, frozen=True):
    """The step that inserts a record, or replaces the one with its key."""

    record: Record


class Delete(msgspec.Struct, frozen=True):
    """The step that removes the record with a key."""

    kind: type[Record]
    key: Key


Step: TypeAlias = Put | Delete


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    put: str | None = None
    record: msgspec.Raw = msgspec.Raw(b"null")
    extra: dict[str, Any] | None = None
    """Unknown keys that have the same names as fields; they are stored apart from the fields."""
    delete: str | None = None
    key: tuple[str, ...] = ()


def as_json(step: Step) -> dict[str, Any]:
    """Return the JSON form of a step."""
    if isinstance(step, Delete):
        return {"delete": step.kind.plural, "key": step.key}
    record = step.record
    written = {"put": type(record).plural, "record": record.as_json()}
    hidden = {name: value for name, value in (record.extra or {}).items() if name in _names(record)}
    return written | ({"extra": hidden} if hidden else {})


class StepReader:
    """Decodes the journal steps of one domain."""

    def __init__(self, domain: Domain) -> None:
        self._readers: dict[str, Reader[Any]] = {kind.plural: Reader(kind) for kind in domain.kinds}
        self._kinds = {kind.plural: kind for kind in domain.kinds}
        self._decoder = msgspec.json.Decoder(_Written)

    def read(self, steps: Iterable[msgspec.Raw]) -> Iterator[Step]:
        """Yield the decoded steps. Raises DocumentCorrupt for a step that this version does not know."""
        for raw in steps:
            try:
                step = self._step(self._decoder.decode(raw))
            except (msgspec.DecodeError, UnicodeDecodeError):
                step = None
            if step is None:
                raise DocumentCorrupt("a line of the journal holds a step that this version does not know")
            yield step

    def _step(self, written: _Written) -> Step | None:
        if written.delete in self._kinds:
            return Delete(self._kinds[written.delete], written.key)
        if written.put not in self._readers:
            return None
        record = self._readers[written.put].read(written.record, "").record
        if record is not None and written.extra:
            record = replace(record, extra=Extra({**(record.extra or {}), **written.extra}))
        return None if record is None else Put(record)


def _names(record: Record) -> set[str]:
    """Return the JSON names of the fields that are set in a record."""
    return {name for attribute, name in field_names(type(record)) if getattr(record, attribute) is not None}
