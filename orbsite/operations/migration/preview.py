"""Samples of a dry run: records before and after, so that a user can see the effect."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from orbsite.operations.ledger.change_log import Outcome, key_text, original
from orbsite.storage.findings import errors
from orbsite.storage.records.domain import Domain, Entry
from orbsite.storage.records.record import Record

MOST = 20
"""The maximum number of samples per outcome and kind."""
_LONGEST = 2000
_ITEMS = 100


class Preview:
    """The first records of each outcome, added to a list of the report."""

    def __init__(self, domain: Domain, into: list[dict[str, Any]]) -> None:
        self._domain, self._into = domain, into
        self._taken: Counter[tuple[str, str]] = Counter()

    def take_new(self, kind: type[Record], places: Sequence[int], entries: Sequence[Entry]) -> None:
        """Add samples of new records: the entries at these places."""
        for at in places[: self._room(kind, "new")]:
            self._add(kind, "new", entries[at], after=entries[at].record)

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Add samples of entries whose key a row has. Unchanged ones are left out."""
        for one in outcomes:
            kind = one.entry.kind
            if kind is None or one.what == "unchanged":
                continue
            before = one.row.record if one.row is not None else None
            reason = "; ".join(finding.message for finding in errors(one.findings))
            self._add(kind, one.what, one.entry, before=before, after=one.record, reason=reason)

    def _add(
        self,
        kind: type[Record],
        what: str,
        entry: Entry,
        *,
        before: Record | None = None,
        after: Record | None = None,
        reason: str = "",
    ) -> None:
        if not self._room(kind, what):
            return
        self._taken[kind.plural, what] += 1
        sample: dict[str, Any] = {"domain": self._domain.name, "kind": kind.plural, "what": what, "path": entry.path}
        sample["key"] = key_text(after.key) if after is not None else ""
        sample["before"] = before and abridged(before.as_json())
        sample["after"] = abridged(original(entry) if after is None else after.as_json())
        sample["reason"] = reason
        self._into.append(sample)

    def _room(self, kind: type[Record], what: str) -> int:
        return MOST - self._taken[kind.plural, what]


def abridged(value: Any) -> Any:
    """Return JSON with long texts and lists cut. A digest distinguishes different ends of texts."""
    match value:
        case str() if len(value) > _LONGEST:
            rest = value[_LONGEST:]
            mark = hashlib.sha256(rest.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            return f"{value[:_LONGEST]}… [{len(rest)} more characters, SHA-256 {mark}]"
        case list() | tuple():
            more = [f"… [{len(value) - _ITEMS} more]"] if len(value) > _ITEMS else []
            return [*(abridged(item) for item in value[:_ITEMS]), *more]
        case dict():
            return {name: abridged(item) for name, item in value.items()}
    return value
