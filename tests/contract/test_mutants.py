"""The contract suite has teeth: stores that are broken in one way each fail it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from orbsite.storage.base.query import Query
from orbsite.storage.errors import OrbError
from orbsite.storage.memory.store import MemoryStore
from orbsite.testing import StoreContract
from orbsite.testing.harness import memory
from tests.support.cases import CASES, Case


class PutKeepsTheFirstOfAKey(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        super().put(reversed(list(records)), expect=expect, free=free)


class PutStopsHalfWay(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        for record in records:
            super().put([record], expect=expect, free=free)


class PutIgnoresTheDigest(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        super().put(records, free=free)


class PutChecksTheDigestOnlyOfWhatIsThere(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        records = list(records)
        super().put(records, free=free, expect=expect if self.fetch(type(records[0]), [records[0].key]) else None)


class PutIsNeverFree(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        super().put(records, expect=expect)


class PutAddsWhatIsFree(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        records = list(records)
        if free:
            records = [one for one in records if not self.fetch(type(one), [one.key])]
        super().put(records, expect=expect)


class DeleteIgnoresTheDigest(MemoryStore):
    def delete(self, kind, keys, *, user_id=None, expect=None):
        return super().delete(kind, keys, user_id=user_id)


class PutMovesOwners(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        records = list(records)
        for record in records:
            self.delete(type(record), [record.key] if "user_id" not in record.key_fields else [])
        super().put(records, expect=expect, free=free)


class PutTakesWhatIsInvalid(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        self.take(records)


class PutForgetsUnknownKeys(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        super().put([msgspec.structs.replace(record, extra=None) for record in records], expect=expect, free=free)


class PutForgetsMicroseconds(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        super().put([_whole_milliseconds(record) for record in records], expect=expect, free=free)


class PutAndFetchAgreeOnSomethingElse(MemoryStore):
    def put(self, records, *, expect=None, free=False):
        super().put([_reversed(record) for record in records], expect=expect, free=free)

    def fetch(self, kind, keys, *, user_id=None, findings=None):
        return {key: _reversed(one) for key, one in super().fetch(kind, keys, user_id=user_id).items()}


class FetchHandsOutItsOwn(MemoryStore):
    def fetch(self, kind, keys, *, user_id=None, findings=None):
        kept = self._of(kind).records
        return {key: kept[key] for key in keys if key in kept and user_id in (None, kept[key].user_id)}


class AddReplaces(MemoryStore):
    def add(self, record):
        self.put([record])
        return record, True


class AddForgets(MemoryStore):
    def add(self, record):
        return self.fetch(type(record), [record.key]).get(record.key, record), True


class FetchShowsOtherUsersRecords(MemoryStore):
    def fetch(self, kind, keys, *, user_id=None, findings=None):
        return super().fetch(kind, keys)


class FindIsOldestFirst(MemoryStore):
    def select(self, kind, query, findings=None):
        return super().select(kind, _replaced(query, oldest_first=not query.oldest_first))


class FindIgnoresTheLimit(MemoryStore):
    def select(self, kind, query, findings=None):
        return super().select(kind, _replaced(query, limit=None))


class FindIgnoresTheCursor(MemoryStore):
    def select(self, kind, query, findings=None):
        found = super().select(kind, _replaced(query, after=None, limit=None))
        return [one for one in found if query.after is None or one.order[0] != query.after[0]][: query.limit]


class FindOrdersByLocale(MemoryStore):
    def select(self, kind, query, findings=None):
        found = super().select(kind, query)
        if query.limit is not None:
            return found
        return sorted(
            found, key=lambda one: [str(part).casefold() for part in one.order], reverse=not query.oldest_first
        )


class FindLimitsBeforeItFilters(MemoryStore):
    def select(self, kind, query, findings=None):
        found = super().select(kind, _replaced(query, tag=None, text=None))
        return [one for one in found if query.matches_content(one)]


class UntilIsWithin(MemoryStore):
    def select(self, kind, query, findings=None):
        later = query.until and query.until + timedelta(microseconds=1)
        return super().select(kind, _replaced(query, until=later))


class TextIsFoundInOneCaseOnly(MemoryStore):
    def select(self, kind, query, findings=None):
        found = super().select(kind, query)
        return [one for one in found if query.text is None or query.text in str(one.as_json())]


class TagMatchesAPart(MemoryStore):
    def select(self, kind, query, findings=None):
        found = super().select(kind, _replaced(query, tag=None))
        return [one for one in found if query.tag is None or query.tag in str(getattr(one, one.tag_field))]


class FindTakesAnyCondition(MemoryStore):
    def find(self, kind, where=None, findings=None, **options):
        return self.select(kind, Query(where=where or {}, **options)) if where != {"digest": "x"} else []


class DeleteCountsWhatWasAsked(MemoryStore):
    def delete(self, kind, keys, *, user_id=None, expect=None):
        keys = list(keys)
        super().delete(kind, keys, user_id=user_id, expect=expect)
        return len(keys)


class DeleteTakesOtherUsersRecords(MemoryStore):
    def delete(self, kind, keys, *, user_id=None, expect=None):
        return super().delete(kind, keys, expect=expect)


class DeleteWhereDeletesAll(MemoryStore):
    def delete_where(self, kind, where):
        return super().delete_where(kind, {})


class WalkSkipsAtPages(MemoryStore):
    def walk(self, kind, *, page=1000, findings=None):
        return (one for number, one in enumerate(super().walk(kind)) if number % (page + 1) != page)


class WalkIsASnapshotOfOffsets(MemoryStore):
    def walk(self, kind, *, page=1000, findings=None):
        offset = 0
        while found := list(super().walk(kind))[offset : offset + page]:
            yield from found
            offset += page


class CountCountsValuesOnce(MemoryStore):
    def count(self, kind, distinct=None):
        return super().count(kind, distinct or "user_id")


def _replaced(query: Query, **changes: object) -> Query:
    return replace(query, **changes)


def _whole_milliseconds(record):
    name = record.time_field
    if name is None:
        return record
    moment = getattr(record, name)
    return msgspec.structs.replace(record, **{name: moment.replace(microsecond=moment.microsecond // 1000 * 1000)})


def _reversed(record):
    name = next(case.witness for case in CASES if case.kind is type(record))
    value = getattr(record, name)
    turned = {key[::-1]: one for key, one in value.items()} if isinstance(value, dict) else value[::-1]
    return msgspec.structs.replace(record, **{name: turned})


MUTANTS = [
    mutant
    for mutant in list(globals().values())
    if isinstance(mutant, type) and issubclass(mutant, MemoryStore) and mutant is not MemoryStore
]


PROMISES = [getattr(StoreContract(), name) for name in dir(StoreContract) if name.startswith("test_")]


def _fails(mutant: type[MemoryStore], promise, case: Case) -> bool:
    try:
        promise(memory(mutant), case)
    except (AssertionError, OrbError, pytest.fail.Exception, ValueError):
        return True
    return False


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_store_fails_the_contract(mutant: type[MemoryStore]) -> None:
    assert any(_fails(mutant, promise, case) for promise in PROMISES for case in CASES)


def test_the_unbroken_store_does_not() -> None:
    assert not any(_fails(MemoryStore, promise, case) for promise in PROMISES for case in CASES)
    assert len(MUTANTS) >= 12
