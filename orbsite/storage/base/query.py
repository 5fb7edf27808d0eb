"""The query that `find` takes. It has the same meaning in every store."""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any

from orbsite.storage.records.record import R, Record, Value, is_ordered_by_time, tags_of, texts_in

_order = attrgetter("order")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Conditions that a record must all meet, the order of the results, and limits on how many are returned."""

    where: Mapping[str, str] = field(default_factory=dict)
    """Field names and the text that each field must equal, code point by code point."""
    since: datetime | None = None
    until: datetime | None = None
    """The time range: `since` is included, `until` is excluded."""
    tag: str | None = None
    text: str | None = None
    """A part of one of the record's texts; case is folded."""
    after: tuple[Any, ...] | None = None
    """The keyset cursor: the `order` of the last record of the previous page."""
    limit: int | None = None
    max_bytes: int | None = None
    """The results end with the record that exceeds this many bytes of memory, but never with the first record."""
    oldest_first: bool = False

    def check(self, kind: type[Record]) -> None:
        """Raise ValueError for conditions that do not apply to records of this kind."""
        allowed = {*kind.key_fields, *kind.stored_fields, "user_id"}
        if unknown := sorted(set(self.where) - allowed):
            raise ValueError(f"{kind.plural} are found by {', '.join(sorted(allowed))}, not by {', '.join(unknown)}")
        if self.limit is not None and self.limit < 0:
            raise ValueError("a limit is zero or more")
        for moment in (self.since, self.until):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("since and until need a time zone")
        if self.after is not None and not _is_order(kind, self.after):
            raise ValueError(f"a cursor is the order of a record: {', '.join(kind.order_fields)}")
        for name, wanted, fields in (
            ("since and until", self.since or self.until, kind.time_field),
            ("tag", self.tag, kind.tag_field),
            ("text", self.text, kind.text_fields),
        ):
            if wanted is not None and not fields:
                raise ValueError(f"{kind.plural} cannot be found by {name}")

    def matches(self, record: Record) -> bool:
        """Tell whether a record meets every condition; cursor and limit are not considered."""
        for name, wanted in self.where.items():
            if getattr(record, name) != wanted:
                return False
        return self.matches_time(record) and self.matches_content(record)

    def matches_content(self, record: Record) -> bool:
        """Tell whether a record meets the conditions on tag and text, which are not evaluated in SQL."""
        if self.tag is not None and self.tag not in tags_of(record):
            return False
        return self.text is None or any(self.text.casefold() in part.casefold() for part in _texts(record))

    def select(self, kind: type[R], ordered: Sequence[R]) -> list[R]:
        """Return the records that match, from the cursor on, up to the limits; stops reading when a limit is reached.

        `ordered` must be in ascending order.
        """
        span = self._span(kind, ordered)
        matching = (ordered[index] for index in (span if self.oldest_first else reversed(span)))
        return list(self.cut(record for record in matching if self.matches(record)))

    def cut(self, found: Iterable[R]) -> Iterator[R]:
        """Yield the first records of `found`, up to `limit` and `max_bytes`, and read no further."""
        total = 0
        for number, record in enumerate(
            islice(found, min(sys.maxsize if self.limit is None else self.limit, sys.maxsize))
        ):
            yield record
            if self.max_bytes is not None:
                total += memory_size(record)
                if total > self.max_bytes and number:
                    return

    def _span(self, kind: type[Record], ordered: Sequence[Record]) -> range:
        """Return the range of indexes in `ordered` that the cursor and the time range allow."""
        first, last = 0, len(ordered)
        if self.after is not None and self.oldest_first:
            first = bisect_right(ordered, self.after, key=_order)
        elif self.after is not None:
            last = bisect_left(ordered, self.after, key=_order)
        if kind.time_field is not None and is_ordered_by_time(kind):
            moment = attrgetter(kind.time_field)
            first = first if self.since is None else max(first, bisect_left(ordered, self.since, key=moment))
            last = last if self.until is None else min(last, bisect_left(ordered, self.until, key=moment))
        return range(first, last)

    def matches_time(self, record: Record) -> bool:
        """Tell whether the record's time is within since and until."""
        if self.since is None and self.until is None:
            return True
        moment = getattr(record, record.time_field or "")
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


def _is_order(kind: type[Record], cursor: tuple[Any, ...]) -> bool:
    types = [datetime if name == kind.time_field else str for name in kind.order_fields]
    return len(cursor) == len(types) and all(map(isinstance, cursor, types))


def _texts(record: Record) -> Iterable[str]:
    for name in record.text_fields:
        yield from texts_in(getattr(record, name))


def memory_size(value: Any) -> int:
    """Return about how many bytes of memory a record, or a part of a record, takes."""
    if isinstance(value, str):
        return sys.getsizeof(value)
    if isinstance(value, Value):
        return sum(memory_size(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, Mapping):
        return sum(memory_size(name) + memory_size(item) for name, item in value.items())
    return sum(map(memory_size, value)) if isinstance(value, list | tuple) else sys.getsizeof(value)
