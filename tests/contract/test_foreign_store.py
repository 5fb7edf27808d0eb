"""Somebody else's store is tested by the exported contract in a few lines, and six broken variants of it fail."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from orbsite.storage.errors import OrbError
from orbsite.testing import CASES, AgreementWithMemory, Harness, StoreContract
from orbsite.testing.agreement import StoreMachine, run_machine
from tests.contract import dbm_store
from tests.contract.dbm_store import DbmStore

PROMISES = [getattr(StoreContract(), name) for name in dir(StoreContract) if name.startswith("test_")]


class TestDbmStore(StoreContract, AgreementWithMemory):
    runs, steps = 3, 30

    def harness_in(self, directory: Path) -> Harness:
        return Harness("dbm", lambda domain: DbmStore(domain, directory / f"{domain.name}.dbm"))


class ForgetsUnknownKeys(DbmStore):
    def put(self, records, *, expect=None, free=False):
        super().put([msgspec.structs.replace(one, extra=None) for one in records], expect=expect, free=free)


class LosesWhatAnotherProcessWrote(DbmStore):
    seen: dict = {}

    def all_of(self, kind):
        return self.seen.setdefault((id(self), kind), super().all_of(kind))


class PutsHalfOfAnInvalidBatch(DbmStore):
    def put(self, records, *, expect=None, free=False):
        for record in records:
            super().put([record], expect=expect, free=free)


class IgnoresTheDigest(DbmStore):
    def put(self, records, *, expect=None, free=False):
        super().put(records, free=free)


class DeletesOfOtherUsers(DbmStore):
    def delete(self, kind, keys, *, user_id=None, expect=None):
        return super().delete(kind, keys, expect=expect)


class RepeatsTheRecordOfTheCursor(DbmStore):
    def select(self, kind, query, findings=None):
        found = super().select(kind, replace(query, after=None, limit=None))
        at = [one.order for one in found].index(query.after) if query.after else 0
        return found[at:][: query.limit]


BROKEN = [
    one
    for one in list(globals().values())
    if isinstance(one, type) and issubclass(one, DbmStore) and one is not DbmStore
]


def _failed(store: type[DbmStore], directory: Path) -> str:
    """Return the first promise that a store breaks, or an empty text."""
    for number, (promise, case) in enumerate((promise, case) for promise in PROMISES for case in CASES):
        place = directory / str(number)
        place.mkdir()
        harness = Harness("dbm", lambda domain, place=place: store(domain, place / domain.name))
        try:
            promise(harness, case)
        except (AssertionError, OrbError, LookupError, TypeError, pytest.fail.Exception):
            return promise.__name__
    return ""


@pytest.mark.parametrize("store", BROKEN, ids=lambda store: store.__name__)
def test_a_broken_variant_fails_the_contract(store: type[DbmStore], tmp_path: Path) -> None:
    assert _failed(store, tmp_path)


def test_there_are_six_broken_variants_of_a_store_of_sixty_lines() -> None:
    assert len(BROKEN) == 6
    code = inspect.getsource(dbm_store)[inspect.getsource(dbm_store).index("class DbmStore") :]
    assert len([line for line in code.splitlines() if line.strip()]) <= 60
    assert len(inspect.getsource(TestDbmStore).splitlines()) <= 10


@pytest.mark.parametrize("store", [IgnoresTheDigest, RepeatsTheRecordOfTheCursor])
def test_a_broken_variant_does_not_agree_with_memory(store: type[DbmStore]) -> None:
    def harnesses(base: Path) -> list[Harness]:
        return [Harness("dbm", lambda domain: store(domain, base / domain.name))]

    with pytest.raises(pytest.fail.Exception, match="memory: "):
        run_machine(StoreMachine, CASES[-1], harnesses, runs=20, steps=50)
