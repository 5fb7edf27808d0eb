"""Validates records and whole files, and sanitizes single records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orbsite.operations.migration.file_source import read_document
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.storage.encoding import json_parser
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.errors import DocumentCorrupt, DocumentError, NewerVersion
from orbsite.storage.file.content import entries
from orbsite.storage.file.document import require_directory
from orbsite.storage.findings import ROOT, Finding, Severity, error, errors
from orbsite.storage.records.decoder import read
from orbsite.storage.records.domain import Domain, Entry
from orbsite.storage.records.record import R, Record
from orbsite.storage.records.sanitizer import mend

COLUMNS = ("read", "valid", "rejected")


@dataclass(frozen=True, slots=True)
class Validation:
    """The findings about a value, and whether it is valid."""

    findings: tuple[Finding, ...]

    @property
    def valid(self) -> bool:
        """Whether there are no errors. Warnings are allowed."""
        return not errors(self.findings)

    @property
    def errors(self) -> list[str]:
        """The errors, each with its path."""
        return [f"{one.path}: {one.message}" for one in errors(self.findings)]

    @property
    def warnings(self) -> list[str]:
        """The warnings, each with its path."""
        return [f"{one.path}: {one.message}" for one in self.findings if one.severity is Severity.WARNING]


def validate(domains: list[Domain], base: Path, *, progress: Progress = silent) -> Report:
    """Check the files under a data directory. An unreadable file does not stop the check of the others.

    Raises DocumentError where the directory is missing.
    """
    require_directory(base)
    report = Report(columns=COLUMNS)
    progress.tells_of(report)
    for domain in domains:
        section = report.section_of(domain)
        try:
            _count(read_document(domain, base), section, progress)
        except DocumentError as problem:
            report.unreadable = True
            section.findings.append(error(ROOT, str(problem)))
    return report


def validate_record(kind: type[Record], value: Any) -> Validation:
    """Check one record, given as parsed JSON or as a record."""
    try:
        return Validation(tuple(read(kind, _parsed(value)).findings))
    except ValueError as problem:
        return Validation((error(ROOT, str(problem)),))


def validate_document(domain: Domain, data: Any) -> Validation:
    """Check a whole file, given as its bytes or as parsed JSON."""
    try:
        content = data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else stringify(data)
        found = [finding for entry in entries(domain, content) for finding in entry.findings]
    except (DocumentCorrupt, NewerVersion) as problem:
        found = [error(problem.path or ROOT, problem.reason)]
    except ValueError as problem:
        found = [error(ROOT, f"it is not valid JSON: {problem}")]
    return Validation(tuple(found))


def sanitize_record(
    kind: type[R],
    value: Any,
    *,
    new_id: Callable[[], object] | None,
    now: Callable[[], datetime] | None,
    changes: list[Finding] | None,
) -> R | None:
    """Return a clean record made from a value, or None where that fails. The changes are appended to `changes`."""
    noted = [] if changes is None else changes
    try:
        return mend(kind, _parsed(value), new_id=new_id, now=now, changes=noted)
    except ValueError as problem:
        noted.append(error(ROOT, f"{problem}; no valid record could be made from it"))
        return None


def _parsed(value: Any) -> Any:
    """Return a record as JSON, and any other value unchanged. Raises ValueError for values that no parser returns."""
    if isinstance(value, Record):
        return value.as_json(spell=lambda moment: moment)
    json_parser.refuse_no_tree(value)
    return value


def _count(found: Iterable[Entry], section: Section, progress: Progress) -> None:
    for entry in found:
        section.findings += entry.findings
        if entry.kind is not None:
            section.count(entry.kind.plural, "read")
            section.count(entry.kind.plural, "rejected" if entry.record is None else "valid")
            progress(1)
