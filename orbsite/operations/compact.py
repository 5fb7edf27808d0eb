"""Makes the files as small as they can be without losing anything: journals are folded into their documents."""

from __future__ import annotations

from pathlib import Path

from orbsite.operations.report import Report
from orbsite.storage.document import require_directory
from orbsite.storage.domain import Domain
from orbsite.stores import file_store


def compact(domains: list[Domain], base: Path, *, dry_run: bool = False) -> Report:
    """Fold the journals under a data directory, and tell the bytes before and after.

    Raises DocumentError where the directory is missing or a file cannot be read.
    """
    require_directory(base)
    report = Report()
    for domain in domains:
        store = file_store(domain, base)
        before = store.size()
        if not dry_run:
            store.fold()
        report.section(domain.name, ()).facts = {"before": before, "after": store.size()}
    return report
