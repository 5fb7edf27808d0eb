"""Formats a report as text: a table of counts, then facts, details and findings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from orbsite.operations.report import STATEMENTS, Report
from orbsite.storage.findings import Finding, Severity

_MOST_LINES = 20


def as_text(report: Report, color: Any) -> str:
    """Return the report as text for a terminal. `color` is Django's command style."""
    return "\n".join(
        [
            *_aligned(_counts(report)),
            *_aligned(_facts(report)),
            *_details(report),
            *_findings(report, color),
            *_end(report, color),
        ]
    )


def _counts(report: Report) -> list[list[str]]:
    rows = [
        [f"{name} {_words(kind)}", *(str(counts[what]) for what in report.columns)]
        for name, section in report.domains.items()
        for kind, counts in section.counts.items()
    ]
    sums = [sum(section.total(what) for section in report.domains.values()) for what in report.columns]
    return [["", *report.columns], *rows, ["all", *map(str, sums)]] if rows else []


def _facts(report: Report) -> list[list[str]]:
    return [
        [f"{name} {_words(fact)}", f"{number:,}"]
        for name, section in report.domains.items()
        for fact, number in section.facts.items()
    ]


def _details(report: Report) -> Iterator[str]:
    for name, section in report.domains.items():
        for what, value in section.details.items():
            if what == STATEMENTS:
                yield from value
                continue
            yield f"{name} {_words(what)}: {_plainly(value)}"


def _plainly(value: Any) -> str:
    """Return a detail as text. Texts from the data are escaped to ASCII."""
    if isinstance(value, dict):
        return ", ".join(f"{json.dumps(key)[1:-1]} {_plainly(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list):
        return "; ".join(map(_plainly, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else "never" if value is None else json.dumps(value)[1:-1]


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def _findings(report: Report, color: Any) -> Iterator[str]:
    for name, section in report.domains.items():
        for severity, paint in ((Severity.ERROR, color.ERROR), (Severity.WARNING, color.WARNING)):
            findings = [one for one in section.findings if one.severity is severity]
            each = (f"{one.path}: {one.message}" for one in findings)
            lines = list(each if severity is Severity.ERROR else _grouped(findings))
            yield from (paint(f"{name} {severity.value}: {line}") for line in lines[:_MOST_LINES])
            if len(lines) > _MOST_LINES:
                yield f"... and {len(lines) - _MOST_LINES} more; --format json lists all of them"


def _grouped(findings: list[Finding]) -> Iterator[str]:
    """Yield one line per message, with its path, or with the number of paths, the first and the last."""
    groups: dict[str, list[str]] = {}
    for one in findings:
        groups.setdefault(one.message, []).append(one.path)
    for message, paths in groups.items():
        where = paths[0] if len(paths) == 1 else f"{len(paths)} times, from {paths[0]} to {paths[-1]}"
        yield f"{where}: {message}"


def _end(report: Report, color: Any) -> Iterator[str]:
    if report.backup is not None:
        yield f"Backup created: {report.backup}"
    for name in report.tombstones:
        yield f"Removed records are kept as tombstones in .orb/tombstones/{name}.jsonl."
    if report.run is not None:
        yield f"Run {report.run} is in the ledger."
    if not report.ok:
        yield color.ERROR("The command has found problems: see the errors above. Skipped records stay in their source.")


def _words(name: str) -> str:
    return name.replace("_", " ")
