"""The result of a job as its page shows it: tables of counts, details, findings, and diffs of sample records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from orbsite.admin.base.permissions import may_see
from orbsite.admin.diff import FieldDiff, as_text, differences_of_json
from orbsite.storage.records.domain import registered

MOST_FINDINGS = 200
_OUTCOMES = {
    "new": "would be added",
    "replaced": "would be changed",
    "kept": "would stay unchanged in SQL",
    "rejected": "would be rejected",
}


@dataclass(frozen=True, slots=True)
class Table:
    """The record counts and details of one domain."""

    domain: str
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[str, list[int]]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an operation."""

    run: int | None
    ok: bool
    facts: list[tuple[str, str]]
    tables: list[Table]
    findings: list[dict[str, str]]
    left_out: int
    """The number of findings that are not shown."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of a preview, with the diff that the operation would make."""

    path: str
    key: str
    reason: str
    parts: list[FieldDiff]
    """The fields that differ, or all fields of a new record."""


def of_result(result: dict[str, Any]) -> Result:
    """Return the view of a job's result."""
    findings = result.get("findings") or []
    more = int(result.get("more_findings") or 0)
    others = {name: value for name, value in result.items() if name in ("backup", "directory", "tombstones", "removed")}
    return Result(
        run=result.get("run"),
        ok=bool(result.get("ok")),
        facts=facts_of(others),
        tables=[_table(name, section) for name, section in (result.get("domains") or {}).items()],
        findings=findings[:MOST_FINDINGS],
        left_out=max(0, len(findings) - MOST_FINDINGS) + more,
    )


def of_samples(samples: Iterable[dict[str, Any]], user: Any) -> Iterator[tuple[str, list[Sample]]]:
    """Yield a heading and the samples for each kind and outcome, for the kinds that the user may view."""
    models = {kind.plural: model for domain in registered() for kind, model in domain.models.items()}
    visible = [sample for sample in samples if sample["kind"] in models and may_see(user, models[sample["kind"]])]
    order = list(_OUTCOMES)
    visible.sort(key=lambda it: (it["kind"], order.index(it["what"]) if it["what"] in order else len(order)))
    for (kind, what), group in groupby(visible, key=lambda sample: (sample["kind"], sample["what"])):
        heading = f"{kind.replace('_', ' ').capitalize()}: {_OUTCOMES.get(what, what)}"
        yield heading, [_sample(sample) for sample in group]


def facts_of(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and values as display texts."""
    return [(name.replace("_", " "), _text(value)) for name, value in values.items()]


def tables_of(counts: dict[str, dict[str, dict[str, int]]]) -> list[Table]:
    """Return the tables of a run's counts by domain, kind and outcome."""
    return [_table(domain, {"kinds": kinds}) for domain, kinds in counts.items()]


def _table(domain: str, section: dict[str, Any]) -> Table:
    kinds = section.get("kinds")
    if not isinstance(kinds, dict):
        return Table(domain, facts=facts_of(section))
    columns = list(dict.fromkeys(what for counts in kinds.values() for what in counts))
    rows = [(kind.replace("_", " "), [int(counts.get(what, 0)) for what in columns]) for kind, counts in kinds.items()]
    others = {name: value for name, value in section.items() if name != "kinds" and name not in columns}
    return Table(domain, [column.replace("_", " ") for column in columns], rows, facts_of(others))


def _sample(sample: dict[str, Any]) -> Sample:
    before, after = sample["before"], sample["after"]
    parts = [as_text("Stored text", after)] if isinstance(after, str) else differences_of_json(before, after)
    return Sample(sample["path"], sample["key"], sample["reason"], parts)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
