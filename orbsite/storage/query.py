"""What `find` looks for, with one meaning for every store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orbsite.storage.record import R, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Conditions, all of which must hold, and how much of what holds is wanted."""

    where: Mapping[str, str] = field(default_factory=dict)
    """Fields and the text that each must equal, code point by code point."""
    since: datetime | None = None
    until: datetime | None = None
    """Instants: `since` is within, `until` is not."""
    tag: str | None = None
    text: str | None = None
    """A part of any of the texts, case folded."""
    after: tuple[Any, ...] | None = None
    """Keyset cursor: the `order` of the last record seen."""
    limit: int | None = None
    oldest_first: bool = False

    def check(self, kind: type[Record]) -> None:
        """Raise ValueError for conditions that records of this kind cannot answer."""
        allowed = {*kind.key_fields, *kind.stored_fields, "user_id"}
        if unknown := sorted(set(self.where) - allowed):
            raise ValueError(f"{kind.plural} are found by {', '.join(sorted(allowed))}, not by {', '.join(unknown)}")
        if self.limit is not None and self.limit < 0:
            raise ValueError("a limit is zero or more")
        for moment in (self.since, self.until):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("since and until need a time zone")
        for name, wanted, fields in (
            ("since and until", self.since or self.until, kind.time_field),
            ("tag", self.tag, kind.tag_field),
            ("text", self.text, kind.text_fields),
        ):
            if wanted is not None and not fields:
                raise ValueError(f"{kind.plural} cannot be found by {name}")

    def matches(self, record: Record) -> bool:
        """Tell whether every condition holds, the cursor and the limit aside."""
        return (
            all(getattr(record, name) == wanted for name, wanted in self.where.items())
            and self._in_time(record)
            and self.matches_content(record)
        )

    def matches_content(self, record: Record) -> bool:
        """Tell whether tag and text hold: the conditions that SQL leaves to us."""
        if self.tag is not None and self.tag not in getattr(record, record.tag_field or ""):
            return False
        return self.text is None or any(self.text.casefold() in part.casefold() for part in _texts(record))

    def select(self, records: Iterable[R]) -> list[R]:
        """Return the records that match, in order, from the cursor on, up to the limit."""
        found = sorted((one for one in records if self.matches(one)), key=_order, reverse=not self.oldest_first)
        if self.after is not None:
            found = [one for one in found if (one.order > self.after if self.oldest_first else one.order < self.after)]
        return found[: self.limit]

    def _in_time(self, record: Record) -> bool:
        if self.since is None and self.until is None:
            return True
        moment = getattr(record, record.time_field or "")
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


def _order(record: Record) -> tuple[Any, ...]:
    return record.order


def _texts(record: Record) -> Iterable[str]:
    for name in record.text_fields:
        value = getattr(record, name)
        if isinstance(value, str):
            yield value
        elif value is not None:
            yield from value
