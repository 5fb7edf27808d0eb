"""A record's history: the changes of its key in the ledger, newest first, each with a diff."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from orbsite.admin.diff import FieldDiff, differences
from orbsite.models.ledger import Change
from orbsite.operations.ledger.change_log import key_text
from orbsite.operations.ledger.tombstones import REMOVALS
from orbsite.storage.errors import OrbError
from orbsite.storage.records.changes import Put, StepReader
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, Record

PAGE = 20

WORDS = {
    "edit": "edited",
    "remove": "removed",
    "compact": "removed by retention",
    "restore": "restored",
    "migrate": "replaced by a migration",
    "retry": "replaced by a migration",
    "import": "replaced by an import",
    "sanitize": "sanitized",
    "upgrade": "replaced by an upgrade",
}


@dataclass(frozen=True, slots=True)
class Version:
    """One change, with the state of the record before it."""

    change: Change
    before: Record | None
    """None if there was no record, or if it cannot be decoded."""
    raw: str
    """The stored JSON if the state before cannot be decoded, else empty."""
    parts: list[FieldDiff]
    is_exact: bool
    """Whether the diff comes from this change alone: nothing else wrote the record before the next change."""
    is_current: bool
    """Whether the state before equals the current state."""

    @property
    def what(self) -> str:
        """The past participle that describes the change, such as `edited`."""
        if self.created:
            return "added" if self.change.run.operation == "edit" else "restored"
        return WORDS.get(self.change.run.operation, self.change.run.operation)

    @property
    def created(self) -> bool:
        """Whether there was no record before."""
        return self.before is None and not self.raw

    @property
    def at(self) -> datetime:
        """The time of the change, or else the start of its run."""
        return self.change.at or self.change.run.started_at

    @property
    def who(self) -> str:
        """The actor of the change, or its run if the ledger has no actor."""
        return self.change.actor or f"run {self.change.run_id}"

    @property
    def is_removal(self) -> bool:
        """Whether the change removed the record."""
        return self.change.run.operation in REMOVALS

    @property
    def can_be_reverted(self) -> bool:
        """Whether the state before can be restored and differs from the current state."""
        return not self.raw and not self.is_current


@dataclass(frozen=True, slots=True)
class History:
    """One page of a record's history."""

    versions: list[Version]
    older: int | None
    """The cursor of the next page, or None on the last page."""


def changes_of(domain: Domain, kind: type[Record], key: Key) -> Any:
    """Return the changes of a key by hand and by migrations; retention's tombstones have no index, and are left out."""
    changes = Change.objects.filter(key=key_text(key), at=None, domain=domain.name, kind=kind.plural)
    return changes.select_related("run").order_by("-pk")


def history(
    domain: Domain,
    kind: type[Record],
    key: Key,
    now: Record | None,
    *,
    before: int | None = None,
    also: int | None = None,
) -> History:
    """Return a page of a key's history; `now` is the current record.

    `before` is the cursor of the page: only changes with a smaller number are returned. `also` is the number of a
    tombstone to add to the first page, for a record that retention has removed.
    """
    changes = changes_of(domain, kind, key)
    page = list((changes if before is None else changes.filter(pk__lt=before))[: PAGE + 1])
    older = page[PAGE - 1].pk if len(page) > PAGE else None
    page = page[:PAGE]
    tombstone = None if also is None or before is not None else tombstone_of(domain, kind, key, also)
    if tombstone is not None and tombstone.pk not in {change.pk for change in page}:
        page.insert(0, tombstone)
        page.sort(key=lambda change: -change.pk)
    steps = StepReader(domain)
    newer = changes.filter(pk__gte=before).order_by("pk").first() if before is not None else None
    after = now if newer is None else read(steps, newer)[0]
    versions = []
    for change in page:
        versions.append(_version(steps, change, after, now))
        after = versions[-1].before
    return History(versions, older)


def tombstone_of(domain: Domain, kind: type[Record], key: Key, number: int) -> Change | None:
    """Return a key's tombstone by its number, or None if the key has no such tombstone."""
    changes = Change.objects.filter(pk=number, domain=domain.name, kind=kind.plural, key=key_text(key))
    return changes.filter(run__operation__in=REMOVALS).select_related("run").first()


def read(steps: StepReader, change: Change) -> tuple[Record | None, str]:
    """Return the record before a change, or None and the stored JSON if that cannot be decoded."""
    try:
        step = next(steps.read([msgspec.Raw(change.before.encode())]))
    except OrbError:
        return None, change.before
    return (step.record if isinstance(step, Put) else None), ""


def _version(steps: StepReader, change: Change, after: Record | None, now: Record | None) -> Version:
    before, raw = read(steps, change)
    if change.run.operation in REMOVALS:
        after, is_exact = None, True
    else:
        is_exact = after is not None and digest(after) == change.after
    is_current = now is None if before is None else now is not None and digest(before) == digest(now)
    return Version(change, before, raw, differences(before, after), is_exact, is_current)
