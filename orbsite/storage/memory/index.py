"""An in-memory index of records of one kind, by key and by the values of fields."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Generic

from orbsite.storage.records.record import Key, R, keys_of_all

_order = attrgetter("order")


class SortedIndex(Generic[R]):
    """Keeps records by key, and sorted groups of records by field value; a field is indexed on first use."""

    def __init__(self) -> None:
        self.records: dict[Key, R] = {}
        self._groups: dict[str, dict[str, list[R]]] = {}
        self._sorted: set[tuple[str, str]] = set()

    def put(self, record: R) -> None:
        """Insert a record, or replace the one with its key."""
        old = self.records.get(record.key)
        if old is not None:
            self._remove_from_groups(old)
        self.records[record.key] = record
        for field, groups in self._groups.items():
            value = _value(record, field)
            if (field, value) in self._sorted:
                bisect.insort(groups[value], record, key=_order)
            else:
                groups.setdefault(value, []).append(record)

    def drop(self, key: Key) -> None:
        """Remove the record with this key."""
        self._remove_from_groups(self.records.pop(key))

    def drop_many(self, keys: Iterable[Key]) -> None:
        """Remove many records in one pass; the groups are built again on next use."""
        for key in keys:
            del self.records[key]
        self._groups.clear()
        self._sorted.clear()

    def fill(self, records: Sequence[R]) -> None:
        """Insert or replace many records in one pass; the groups are built again on next use."""
        if records:
            self.records.update(zip(keys_of_all(type(records[0]), records), records, strict=True))
        self._groups.clear()
        self._sorted.clear()

    def among(self, where: Mapping[str, str]) -> Sequence[R]:
        """Return the smallest indexed group that contains all records with these field values, in ascending order."""
        groups = [self._group(field, value) for field, value in where.items()]
        return min(groups, key=len) if groups else self._group("", "")

    def _group(self, field: str, value: str) -> list[R]:
        groups = self._groups.get(field)
        if groups is None:
            groups = self._groups[field] = {}
            for record in self.records.values():
                groups.setdefault(_value(record, field), []).append(record)
        group = groups.get(value)
        if group is None:
            return []
        if (field, value) not in self._sorted:
            group.sort(key=_order)
            self._sorted.add((field, value))
        return group

    def _remove_from_groups(self, record: R) -> None:
        for field, groups in self._groups.items():
            value = _value(record, field)
            group = self._group(field, value)
            del group[bisect.bisect_left(group, record.order, key=_order)]
            if not group:
                del groups[value]
                self._sorted.discard((field, value))


def _value(record: Any, field: str) -> str:
    """Return the field's value; the empty field name has one group of all records."""
    return getattr(record, field) if field else ""
