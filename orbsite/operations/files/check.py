"""Checks the files for damage, and makes the repairs that are safe without a decision."""

from __future__ import annotations

from pathlib import Path

from orbsite.operations.report import Report, Section
from orbsite.storage.errors import DocumentCorrupt, OrbError
from orbsite.storage.file import repair as repairs
from orbsite.storage.file.checker import Issue, IssueKind, examine
from orbsite.storage.file.document import Document, require_directory
from orbsite.storage.findings import Finding, error, warning
from orbsite.storage.records.domain import Domain
from orbsite.stores import open_document

COLUMNS = ("damaged", "edited", "left over")
MENDED_COLUMNS = (*COLUMNS, "mended", "not mended")


def check(domains: list[Domain], base: Path) -> Report:
    """Examine every document under a data directory, its journal and the files beside it. Nothing is written.

    Raises DocumentError where the directory is missing.
    """
    require_directory(base)
    report = Report(columns=COLUMNS, bad=("damaged", "edited"))
    for domain in domains:
        section = report.section(domain.name, ["files"])
        document = open_document(domain, base)
        for issue in examine(domain, document):
            _count(section, issue)
            section.findings.append(_finding(document, issue, issue.message))
    return report


def repair(domains: list[Domain], base: Path, *, apply: bool, restore: bool = False) -> Report:
    """Repair the files, or, without `apply`, report what would be done. Set-aside copies of replaced files are kept.

    With `restore`, a document that is missing or unreadable is replaced by its last good generation. The report is not
    ok while something is damaged or a repair has failed; the exit code is 2 where the file system refused a repair.
    Raises DocumentError where the directory is missing.
    """
    require_directory(base)
    report = Report(columns=MENDED_COLUMNS, bad=("damaged", "not mended"))
    for domain in domains:
        section = report.section(domain.name, ["files"])
        document = open_document(domain, base)
        before = examine(domain, document)
        if apply and any(repairs.plan(issue, restore=restore) for issue in before):
            try:
                repairs.mend(domain, document, before, restore=restore)
            except OrbError as problem:
                section.findings.append(error(str(document.path.relative_to(base)), f"not mended: {problem}"))
                report.unreadable |= not isinstance(problem, DocumentCorrupt)
        after = examine(domain, document) if apply else before
        for issue in before:
            is_repaired = issue not in after
            _report_issue(section, document, issue, is_repaired=is_repaired, is_tried=apply, restore=restore)
        for issue in after:
            _count(section, issue)
    return report


def _report_issue(
    section: Section, document: Document, issue: Issue, *, is_repaired: bool, is_tried: bool, restore: bool
) -> None:
    todo = repairs.plan(issue, restore=restore)
    if is_repaired:
        section.count("files", "mended")
        end = f"done: {todo}" if todo else "another repair has resolved it"
    elif todo and is_tried:
        section.count("files", "not mended")
        end = f"the repair failed; run this again to {todo}"
    elif todo:
        end = f"--apply would {todo}"
    elif issue.trouble in repairs.RESTORED:
        end = "--restore-previous would go back to the last good generation; a backup may be newer"
    else:
        end = "there is no automatic repair for it"
    section.findings.append(_finding(document, issue, f"{issue.message}; {end}"))


def _count(section: Section, issue: Issue) -> None:
    if issue.trouble.is_damage:
        section.count("files", "damaged")
    elif issue.trouble is IssueKind.EDITED:
        section.count("files", "edited")
    elif issue.trouble is not IssueKind.ASIDE:
        section.count("files", "left over")


def _finding(document: Document, issue: Issue, message: str) -> Finding:
    path = str(document.path.with_name(issue.name).relative_to(document.base))
    return (error if issue.trouble.is_damage else warning)(path, message)
