"""Writes the files in another schema version: the newest one, or an older one for programs that do not know it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orbsite.operations.backup import create
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.storage.encoding import json_parser
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.errors import DocumentCorrupt, NewerVersion, OrbError, TooMuch
from orbsite.storage.file.document import require_directory
from orbsite.storage.file.last_runs import Facts
from orbsite.storage.file.store import FileStore
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.versions import Cast, Versions
from orbsite.stores import file_store

logger = logging.getLogger(__name__)

COLUMNS = ("read", "unchanged", "upgraded", "downgraded", "left")
UPGRADE = "upgrade"
"""The name of the operation in the facts beside the files."""
NOT_HELD = "not_held"
"""The fact that counts what the older version cannot hold."""


def upgrade_files(
    domains: list[Domain],
    base: Path,
    *,
    now: Callable[[], datetime],
    schema_version: int | None = None,
    backup_to: Path | None = None,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Report:
    """Write the documents in a schema version, the newest by default, and count their parts by what happened to each.

    Every document is written as a whole or not at all; an interrupted run is completed by the next one. What an older
    version cannot hold is listed, and is given up only with `force`; otherwise TooMuch is raised before anything is
    written. With `backup_to`, the documents that will change are backed up under it first. Raises OrbError where there
    is no such version, DocumentError where a file cannot be read or is of a newer version, and SaveFailed.
    """
    require_directory(base)
    report = Report(columns=COLUMNS, bad=("left",))
    progress.tells_of(report)
    plans = [plan for domain in domains if (plan := _plan(domain, base, schema_version)) is not None]
    progress.expect(sum(plan.parts for plan in plans))
    if not (force or dry_run):
        for plan in plans:
            plan.refuse_loss()
    changed = [plan for plan in plans if plan.is_change]
    if backup_to is not None and changed and not dry_run:
        documents = {plan.domain.name: plan.data for plan in changed}
        label = f"before {UPGRADE} to schema version {', '.join(sorted({str(plan.to) for plan in changed}))}"
        report.backup = create.take(
            [plan.domain for plan in changed], documents, backup_to, now=now, label=label, database=False
        )
    for plan in plans:
        section = report.section(plan.domain.name, (plan.versions.unit,))
        size = plan.store.size()
        if plan.is_change and not dry_run:
            plan.write(force=force)
            _note(base, plan.domain, now())
        plan.fill(section)
        section.facts |= {"before": size, "after": plan.store.size()}
        progress(plan.parts)
    return report


def in_version(domain: Domain, data: bytes, version: int, section: Section | None = None) -> bytes:
    """Return a document in another version, with what that version cannot hold as findings of a section."""
    if domain.versions is None:
        return data
    cast = domain.versions.cast(json_parser.parse(data), version)
    if section is not None:
        section.findings += [*cast.notes, *cast.lost]
        section.facts[NOT_HELD] = len(cast.lost)
    return stringify(cast.tree)


@dataclass(slots=True)
class _Plan:
    """What will happen to one document."""

    domain: Domain
    versions: Versions
    store: FileStore
    to: int
    data: bytes | None
    before: dict[str, int]
    """The number of parts in each version."""
    cast: Cast

    @property
    def parts(self) -> int:
        return sum(self.before.values())

    @property
    def is_change(self) -> bool:
        return bool(self.cast.counts["upgraded"] or self.cast.counts["downgraded"])

    def refuse_loss(self) -> None:
        """Raise TooMuch if the document holds what the version cannot hold."""
        _refuse_loss(self.domain, self.cast, self.to)

    def write(self, *, force: bool) -> None:
        """Write the document, with saves that were made since it was read."""

        def change(data: bytes) -> bytes:
            cast = self.versions.cast(_parsed(self.store, data), self.to)
            if not force:
                _refuse_loss(self.domain, cast, self.to)
            return stringify(cast.tree)

        self.store.recast(change)

    def fill(self, section: Section) -> None:
        """Add the counts and findings to a section."""
        section.count(self.versions.unit, "read", self.parts)
        for what, number in self.cast.counts.items():
            section.count(self.versions.unit, what, number)
        section.details |= {"schema_version": self.to, "versions_before": self.before}
        section.facts[NOT_HELD] = len(self.cast.lost)
        section.findings += [*self.cast.notes, *self.cast.lost]


def _plan(domain: Domain, base: Path, version: int | None) -> _Plan | None:
    """Return the plan for a document; None where the domain has one version only."""
    versions = domain.versions
    if versions is None:
        return None
    to = versions.newest if version is None else version
    versions.refuse_unknown(to)
    store = file_store(domain, base)
    data = store.snapshot()
    if data is None:
        return _Plan(domain, versions, store, to, None, {}, Cast({}))
    tree = _parsed(store, data)
    try:
        counts = versions.counts(tree)
    except NewerVersion as problem:
        raise problem.of(str(base / domain.file)) from problem
    cast = versions.cast(tree, to)
    cast.notes = [*json_parser.repetitions(tree), *cast.notes]
    cast.tree = {}  # it is made again from what is there when it is written
    return _Plan(domain, versions, store, to, data, {str(one): counts[one] for one in sorted(counts)}, cast)


def _parsed(store: FileStore, data: bytes) -> dict[str, Any]:
    """Return a document as JSON. Raises DocumentCorrupt if a part of it is no JSON, or is beyond all bounds."""
    try:
        tree = json_parser.parse(json_parser.without_bom(data)[0])
    except json_parser.MalformedJSON as problem:
        raise _corrupt(store, str(problem)) from problem
    if not isinstance(tree, dict):
        raise _corrupt(store, "expected an object")
    return tree


def _corrupt(store: FileStore, why: str) -> DocumentCorrupt:
    return DocumentCorrupt(
        f"{store.base / store.domain.file}: {why}; it is unchanged. Run validate_orb_files, repair it, then run "
        "this again"
    )


def _refuse_loss(domain: Domain, cast: Cast, to: int) -> None:
    if cast.lost:
        raise TooMuch(
            f"schema version {to} cannot hold {len(cast.lost)} values of {domain.file}, the first at "
            f"{cast.lost[0].path}; the file is unchanged. List them with --dry-run, then run this again with --force"
        )


def _note(base: Path, domain: Domain, moment: datetime) -> None:
    """Record beside the files that a document was written in another version. An error is only logged."""
    try:
        Facts(base).note(UPGRADE, domain.name, moment)
    except OrbError as problem:
        logger.warning("the upgrade of %s could not be recorded: %s", domain.file, problem)
