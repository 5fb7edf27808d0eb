"""The report of an operation: counts per domain and kind, and findings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orbsite.storage.findings import ROOT, Finding, Severity
from orbsite.storage.records.domain import Domain

STATEMENTS = "statements"
"""The detail of a section with SQL statements to run, each of which a text report has on a line of its own."""


@dataclass(slots=True)
class Section:
    """The part of a report about one domain."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """Counts by kind of record, then by outcome."""
    facts: dict[str, int] = field(default_factory=dict)
    """Numbers that do not count a kind of record."""
    details: dict[str, Any] = field(default_factory=dict)
    """Other results, as JSON."""
    findings: list[Finding] = field(default_factory=list)

    def count(self, kind: str, what: str, number: int = 1) -> None:
        """Add to the count of an outcome for a kind of record."""
        self.counts.setdefault(kind, Counter())[what] += number

    def take(self, part: Section) -> None:
        """Add the findings and counts of another section."""
        self.findings += part.findings
        for kind, counts in part.counts.items():
            self.counts.setdefault(kind, Counter()).update(counts)

    def total(self, what: str) -> int:
        """Return a count over all kinds."""
        return sum(counts[what] for counts in list(self.counts.values()))  # another thread may add to it


def failure_as_json(message: str) -> dict[str, Any]:
    """Return the JSON that replaces the report of an operation that could not run."""
    finding = {"path": ROOT, "severity": Severity.ERROR.value, "message": message}
    return {"run": None, "ok": False, "domains": {}, "findings": [finding]}


@dataclass(slots=True)
class Report:
    """The outcome of one operation."""

    columns: tuple[str, ...] = ()
    """The counted outcomes, in the order of display."""
    bad: tuple[str, ...] = ("rejected",)
    """The outcomes that make a report not ok."""
    unreadable: bool = False
    """Whether a whole file could not be read. Its section has the reason."""
    run: int | None = None
    backup: Path | None = None
    """The path of the backup that the operation made."""
    directory: str = ""
    """The name of the directory under ORB_BACKUP_DIR with the files that a job wrote."""
    tombstones: list[str] = field(default_factory=list)
    """The names of the tombstone files for the data that the operation removed from files."""
    removed: list[Path] = field(default_factory=list)
    """The files that the operation removed."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Some records of each outcome, before and after. They hold texts of users: show them only with permission."""
    domains: dict[str, Section] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no file was unreadable and no bad outcome was counted."""
        return not self.unreadable and not any(
            section.total(what) for section in self.domains.values() for what in self.bad
        )

    @property
    def exit_code(self) -> int:
        """0 for success, 1 where records were left out or differ, 2 where a whole file could not be read."""
        return 2 if self.unreadable else 0 if self.ok else 1

    def section(self, domain: str, kinds: Iterable[str]) -> Section:
        """Return the section of a domain. A new one has zero counts for its kinds."""
        return self.domains.setdefault(domain, Section({kind: Counter() for kind in kinds}))

    def section_of(self, domain: Domain) -> Section:
        """Return the section of a domain, with a row for each of its kinds of records."""
        return self.section(domain.name, (kind.plural for kind in domain.kinds))

    def as_json(self) -> dict[str, Any]:
        """Return the report as the commands print it with `--format json`."""
        made = {} if self.backup is None else {"backup": _as_text(self.backup)}
        return {
            "run": self.run,
            **made,
            **({"directory": self.directory} if self.directory else {}),
            **({"tombstones": self.tombstones} if self.tombstones else {}),
            **({"removed": [_as_text(path) for path in self.removed]} if self.removed else {}),
            "ok": self.ok,
            "domains": {name: self._section_as_json(section) for name, section in self.domains.items()},
            "findings": [
                {"domain": name, "path": one.path, "severity": one.severity.value, "message": one.message}
                for name, section in self.domains.items()
                for one in section.findings
            ],
        }

    def _section_as_json(self, section: Section) -> dict[str, Any]:
        if not section.counts:
            return section.facts | section.details
        kinds = {kind: {what: counts[what] for what in self.columns} for kind, counts in section.counts.items()}
        return {what: section.total(what) for what in self.columns} | section.facts | section.details | {"kinds": kinds}


def _as_text(path: Path) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")
