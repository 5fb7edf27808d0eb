"""What came of a job, made ready to be shown: tables of counts, facts, findings, and records before and after."""

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
_WORDS = {
    "new": "would be new",
    "replaced": "would be changed",
    "kept": "would be kept as it is in SQL",
    "rejected": "would be rejected",
}


@dataclass(frozen=True, slots=True)
class Table:
    """What became of one domain."""

    domain: str
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[str, list[int]]] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """What an operation has told."""

    run: int | None
    ok: bool
    facts: list[tuple[str, str]]
    tables: list[Table]
    findings: list[dict[str, str]]
    left_out: int
    """How many findings are not shown."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What would become of one record."""

    path: str
    key: str
    reason: str
    parts: list[FieldDiff]
    """The fields that differ, or all of a record that is new."""


def of_result(result: dict[str, Any]) -> Result:
    """Return a report as a page shows it."""
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
    """Yield the records of each outcome that somebody may see, under a heading."""
    models = {kind.plural: model for domain in registered() for kind, model in domain.models.items()}
    seen = [one for one in samples if one["kind"] in models and may_see(user, models[one["kind"]])]
    order = list(_WORDS)
    seen.sort(key=lambda one: (one["kind"], order.index(one["what"]) if one["what"] in order else len(order)))
    for (kind, what), group in groupby(seen, key=lambda one: (one["kind"], one["what"])):
        yield f"{kind.replace('_', ' ').capitalize()}: {_WORDS.get(what, what)}", [_sample(one) for one in group]


def facts_of(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and values as texts."""
    return [(name.replace("_", " "), _text(value)) for name, value in values.items()]


def _table(domain: str, section: dict[str, Any]) -> Table:
    kinds = section.get("kinds")
    if not isinstance(kinds, dict):
        return Table(domain, facts=facts_of(section))
    columns = list(dict.fromkeys(what for counts in kinds.values() for what in counts))
    rows = [(kind, [int(counts.get(what, 0)) for what in columns]) for kind, counts in kinds.items()]
    others = {name: value for name, value in section.items() if name != "kinds" and name not in columns}
    return Table(domain, [one.replace("_", " ") for one in columns], rows, facts_of(others))


def _sample(one: dict[str, Any]) -> Sample:
    before, after = one["before"], one["after"]
    parts = [as_text("As it stands", after)] if isinstance(after, str) else differences_of_json(before, after)
    return Sample(one["path"], one["key"], one["reason"], parts)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
