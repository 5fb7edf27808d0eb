"""The state of a bulk migration: how many directories wait, run, are done or have failed, and what their runs did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Q, Sum

from orbsite.models.bulk_migrations import BulkDirectory, BulkMigration, DirectoryState
from orbsite.operations.migration.run import COLUMNS
from orbsite.operations.report import Report, Section
from orbsite.storage.findings import Finding, Severity, error

DIRECTORIES = "directories"
"""The section of the report about the directories."""
SUMS = ("read", "written", "problems")
_MOST_FINDINGS = 1000


def totals(bulk: BulkMigration) -> dict[str, int]:
    """Return the number of directories by state and in all, and the sums over their runs, by one query."""
    rows = BulkDirectory.objects.filter(bulk=bulk)
    states = {state.value: Count("pk", filter=Q(state=state)) for state in DirectoryState}
    sums = {name: Sum(name, default=0) for name in SUMS}
    in_part = {"progress": Sum("progress", default=0)}
    found: dict[str, int] = rows.aggregate(all=Count("pk"), **states, **sums, **in_part)
    return found


def status(bulk: BulkMigration) -> Report:
    """Report the directories by state, the counts of their runs, and the findings of those that have any.

    A directory that has failed makes the report unreadable, as a file that cannot be read does.
    """
    report = Report(columns=COLUMNS, bad=("rejected", "unverified"))
    numbers = totals(bulk)
    section = report.section(DIRECTORIES, ())
    section.facts = {"bulk_migration": bulk.pk, **{name: numbers[name] for name in ("all", *DirectoryState.values)}}
    section.details = {"backup": bulk.backup} if bulk.backup else {}
    section.findings += _failures(bulk)
    report.unreadable = bool(numbers[DirectoryState.FAILED])
    _add_results(report, bulk)
    return report


def _failures(bulk: BulkMigration) -> Iterator[Finding]:
    failed = BulkDirectory.objects.filter(bulk=bulk, state=DirectoryState.FAILED).only("name", "error")
    for directory in failed.order_by("name"):
        yield error(directory.name, f"was not migrated: {directory.error}")


def _add_results(report: Report, bulk: BulkMigration) -> None:
    """Add the counts of each directory's run, and the findings of all up to a limit."""
    done = BulkDirectory.objects.filter(bulk=bulk, result__isnull=False).order_by("name")
    left_out = 0
    rows: Any = done.values_list("name", "result").iterator(chunk_size=_MOST_FINDINGS)
    for name, result in rows:
        for domain, section in result["domains"].items():
            _add_counts(report.section(domain, ()), section)
        left_out += result.get("more_findings", 0)
        for one in result["findings"]:
            if sum(len(section.findings) for section in report.domains.values()) >= _MOST_FINDINGS:
                left_out += 1
                continue
            finding = Finding(f"{name} {one['path']}", Severity(one["severity"]), one["message"])
            report.section(one["domain"], ()).findings.append(finding)
    if left_out:
        report.domains[DIRECTORIES].facts["findings_left_out"] = left_out


def _add_counts(section: Section, result: dict[str, Any]) -> None:
    for kind, counts in (result.get("kinds") or {}).items():
        section.counts.setdefault(kind, Counter()).update(counts)
