"""Compacts the files without losing a record: removes invalid items and empty parts, and folds the journals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from orbsite.conf import app_settings
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.operations.statistics.stats import COMPACT
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.timestamps import as_name
from orbsite.storage.errors import DocumentCorrupt, OrbError, TooMuch
from orbsite.storage.file.compaction import Compaction, compacted
from orbsite.storage.file.document import require_directory
from orbsite.storage.file.last_runs import Facts
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.tombstones import Tombstones
from orbsite.storage.findings import warning
from orbsite.storage.records.domain import Domain
from orbsite.stores import file_store

logger = logging.getLogger(__name__)

COLUMNS = ("kept", "removed")
_MOST = 0.2
"""The share of items that is removed without `force`."""


def compact(
    domains: list[Domain],
    base: Path,
    *,
    now: Callable[[], datetime],
    dry_run: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Report:
    """Remove invalid items from the files, fold their journals, and report the sizes in bytes before and after.

    Items that break the rules and parts without records are removed; a record never is. All of it is first written to a
    tombstone file. Raises DocumentError where the directory is missing or a file cannot be read. Raises TooMuch where
    more than a fifth of a file's items would be removed without `force`; that file is unchanged then.
    """
    require_directory(base)
    report = Report(columns=COLUMNS)
    progress.tells_of(report)
    stores = [file_store(domain, base) for domain in domains]
    plans = [_plan(store, base) for store in stores]
    for store, plan in zip(stores, plans, strict=True):
        if plan is not None and not (force or dry_run):
            _refuse_too_much(store.domain, plan)
    for store, plan in zip(stores, plans, strict=True):
        section = report.section_of(store.domain)
        before, done = store.size(), plan
        if not dry_run:
            tombstone = _TombstoneWriter(store.domain, base, now(), force=force)
            if plan is not None and plan.dead:
                done = store.compact(tombstone.write_tombstones)
            else:
                store.fold()
            report.tombstones += tombstone.names
            if plan is not None:
                note_compaction([store], tombstone.moment)
        _fill_section(section, done, dry_run=dry_run)
        section.facts |= {"before": before, "after": _size(plan) if dry_run else store.size()}
        progress(1)
    return report


def note_compaction(stores: Iterable[Store], moment: datetime) -> None:
    """Record beside the files that they were compacted. An error is only logged."""
    for store in stores:
        try:
            if store.base is not None:
                Facts(store.base).note(COMPACT, store.domain.name, moment)
        except OrbError as problem:
            logger.warning("the compaction of %s could not be recorded: %s", store.domain.file, problem)


@dataclass(slots=True)
class _TombstoneWriter:
    domain: Domain
    base: Path
    moment: datetime
    force: bool
    names: list[str] = field(default_factory=list)

    def write_tombstones(self, found: Compaction) -> None:
        """Write the tombstones to disk before anything is removed."""
        if not self.force:
            _refuse_too_much(self.domain, found)
        name = as_name(self.moment)
        lines = (one.tombstone(self.domain) for one in found.dead)
        self.names.append(Tombstones(self.base, app_settings.packing()).write(name, lines).stem)


def _plan(store: FileStore, base: Path) -> Compaction | None:
    data = store.snapshot()
    try:
        return None if data is None else compacted(store.domain, data)
    except DocumentCorrupt as problem:
        raise DocumentCorrupt(f"{base / store.domain.file}: {problem}; repair it, then run this again") from problem


def _size(plan: Compaction | None) -> int:
    return 0 if plan is None else len(plan.content.encode())


def _refuse_too_much(domain: Domain, found: Compaction) -> None:
    removed = sum(one.kind is not None for one in found.dead)
    total = removed + sum(found.kept.values())
    advice = "the file is unchanged. Check them with --dry-run, then run this again with --force"
    if problem := too_much(removed, total, f"items of {domain.file} break the rules and", advice):
        raise problem


def too_much(removed: int, total: int, what: str, advice: str) -> TooMuch | None:
    """Return the error for the removal of more than a fifth of some items; None for fewer."""
    if removed <= _MOST * total:
        return None
    return TooMuch(f"{removed} of {total} {what} would be removed, more than a fifth; {advice}")


def _fill_section(section: Section, compaction: Compaction | None, *, dry_run: bool) -> None:
    if compaction is None:
        return
    for kind, number in compaction.kept.items():
        section.count(kind.plural, "kept", number)
    parts = 0
    for one in compaction.dead:
        if one.kind is None:
            parts += 1
        else:
            section.count(one.kind.plural, "removed")
        message = f"{'would go' if dry_run else 'went to the tombstones'}: {one.reason}"
        section.findings.append(warning(one.path, message))
    section.facts["dead_parts"] = parts
