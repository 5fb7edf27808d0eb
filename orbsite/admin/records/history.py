"""A record's history: what the ledger has of its key, newest first, each change with what it made of what."""

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
    "restore": "brought back",
    "migrate": "replaced by a migration",
    "retry": "replaced by a migration",
    "import": "replaced by an import",
    "sanitize": "mended",
}


@dataclass(frozen=True, slots=True)
class Version:
    """One change, and the state that it put an end to."""

    change: Change
    before: Record | None
    """None where there was nothing, or what cannot be read."""
    raw: str
    """What was there, where it cannot be read."""
    parts: list[FieldDiff]
    is_exact: bool
    """Whether the change itself made all of the difference: nothing else wrote the record before the next one."""
    is_there: bool
    """Whether the state before is the one that is there now."""

    @property
    def what(self) -> str:
        """What happened."""
        if self.created:
            return "added" if self.change.run.operation == "edit" else "brought back"
        return WORDS.get(self.change.run.operation, self.change.run.operation)

    @property
    def created(self) -> bool:
        """Whether there was nothing before."""
        return self.before is None and not self.raw

    @property
    def at(self) -> datetime:
        """When it happened."""
        return self.change.at or self.change.run.started_at

    @property
    def who(self) -> str:
        """Who wanted it, as far as the ledger knows."""
        return self.change.actor or f"run {self.change.run_id}"

    @property
    def is_removal(self) -> bool:
        """Whether nothing was left."""
        return self.change.run.operation in REMOVALS

    @property
    def can_be_reverted(self) -> bool:
        """Whether the state before can be put back, and is another than there is now."""
        return not self.raw and not self.is_there


@dataclass(frozen=True, slots=True)
class History:
    """A page of it."""

    versions: list[Version]
    older: int | None
    """Where the next page begins, if there is one."""


def changes_of(domain: Domain, kind: type[Record], key: Key) -> Any:
    """Return what the ledger has of a key by hand and of migrations; its tombstones of retention have no index."""
    found = Change.objects.filter(key=key_text(key), at=None, domain=domain.name, kind=kind.plural)
    return found.select_related("run").order_by("-pk")


def history(
    domain: Domain,
    kind: type[Record],
    key: Key,
    now: Record | None,
    *,
    before: int | None = None,
    also: int | None = None,
) -> History:
    """Return a page of a key's history, up to a change's number; `now` is the record that is there.

    `also` is the number of a tombstone to show on top, for what retention has removed.
    """
    found = changes_of(domain, kind, key)
    page = list((found if before is None else found.filter(pk__lt=before))[: PAGE + 1])
    older = page[PAGE - 1].pk if len(page) > PAGE else None
    page = page[:PAGE]
    tombstone = None if also is None or before is not None else tombstone_of(domain, kind, key, also)
    if tombstone is not None and tombstone.pk not in {one.pk for one in page}:
        page.insert(0, tombstone)
        page.sort(key=lambda one: -one.pk)
    steps = StepReader(domain)
    newer = found.filter(pk__gte=before).order_by("pk").first() if before is not None else None
    after = now if newer is None else read(steps, newer)[0]
    versions = []
    for change in page:
        versions.append(_version(steps, change, after, now))
        after = versions[-1].before
    return History(versions, older)


def tombstone_of(domain: Domain, kind: type[Record], key: Key, number: int) -> Change | None:
    """Return a key's tombstone by its number."""
    found = Change.objects.filter(pk=number, domain=domain.name, kind=kind.plural, key=key_text(key))
    return found.filter(run__operation__in=REMOVALS).select_related("run").first()


def read(steps: StepReader, change: Change) -> tuple[Record | None, str]:
    """Return the record that was there before a change, if any, and what was there where that is no record."""
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
    is_there = now is None if before is None else now is not None and digest(before) == digest(now)
    return Version(change, before, raw, differences(before, after), is_exact, is_there)
