"""A dry run over many data directories: what a migration of each would do. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration, name_of
from orbsite.operations.bulk_migration.begin import Options, options_of
from orbsite.operations.bulk_migration.status import DIRECTORIES
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.migration.run import COLUMNS
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report
from orbsite.storage.errors import DocumentError
from orbsite.storage.findings import Finding, error

_MOST_SAMPLES = 100


def look(
    directories: Iterable[Path], options: Options, *, now: Callable[[], datetime], progress: Progress = silent
) -> Report:
    """Report what a migration of each directory would do, compared with SQL as it is.

    Records that two of the directories have are counted for each of them.
    """
    report = Report(columns=COLUMNS, bad=("rejected", "unverified"))
    section, paths = report.section(DIRECTORIES, ()), list(directories)
    section.facts["all"] = len(paths)
    progress.tells_of(report)
    progress.expect(len(paths))
    for path in paths:
        try:
            seen = migrate(options.domains, path, now=now, dry_run=True, only_rejected=options.only_rejected)
        except DocumentError as problem:
            report.unreadable = True
            section.findings.append(error(name_of(path), f"would not be migrated: {problem}"))
        else:
            _add(report, name_of(path), seen)
        progress(1)
    return report


def look_at(bulk: BulkMigration, *, now: Callable[[], datetime], progress: Progress = silent) -> Report:
    """Report what a migration of each directory of a bulk migration would do."""
    rows = BulkDirectory.objects.filter(bulk=bulk).only("location", "bulk_id")
    return look([row.path for row in rows], options_of(bulk), now=now, progress=progress)


def _add(report: Report, name: str, seen: Report) -> None:
    for domain, part in seen.domains.items():
        part.findings = [Finding(f"{name} {one.path}", one.severity, one.message) for one in part.findings]
        report.section(domain, part.counts).take(part)
    room = max(0, _MOST_SAMPLES - len(report.samples))
    report.samples += [{**sample, "path": f"{name} {sample['path']}"} for sample in seen.samples[:room]]
