"""A state machine that compares a store with the one in memory, step by step: same answers, same errors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from orbsite.storage.errors import OrbError
from orbsite.storage.records.digest import digest
from orbsite.testing.cases import BEGIN, CASES, Case
from orbsite.testing.harness import Harness, memory

USERS = st.sampled_from(["ana", "Bo", "用户", "42"])
NAMES = st.sampled_from(["a", "B", "é", "7", "42", "__proto__", "😀"])
TEXTS = st.sampled_from(["", "one", "ONE", "two\n", "Straße", "用户", "orb:sealed:1:AA", "orb:plain:1:"]) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e9, 1e9).map(lambda one: round(one, 3))
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
MOMENTS = st.integers(0, 5).map(lambda number: BEGIN + timedelta(microseconds=number))


class StoreMachine(RuleBasedStateMachine):
    """Does the same to every store, and fails where one of them answers otherwise than the one in memory."""

    case: ClassVar[Case]
    harnesses_in: ClassVar[Callable[[Path], Sequence[Harness]]]
    """Returns the harnesses of the stores to compare, which are empty and may keep files in the directory."""

    @initialize()
    def begin(self) -> None:
        """Open an empty store of each harness."""
        self.directory = tempfile.TemporaryDirectory()
        self.base = Path(self.directory.name)
        self.harnesses = [memory(), *type(self).harnesses_in(self.base)]
        self.stores: dict[str, Any] = {}
        self.reopen()
        self.seen: list[Any] = []

    @rule()
    def reopen(self) -> None:
        """Open all stores again, as after a crash of the process, which has closed none of them."""
        self.stores = {one.name: one.open(self.case.domain) for one in self.harnesses}

    def teardown(self) -> None:
        """Remove the files of the stores."""
        self.directory.cleanup()

    @rule(data=st.data(), number=st.integers(1, 3))
    def put(self, data: st.DataObject, number: int) -> None:
        records = [self._record(data) for _ in range(number)]
        self._same("put", records)
        self.seen += records

    @rule(data=st.data())
    def add(self, data: st.DataObject) -> None:
        record = self._record(data)
        self._same("add", record)
        self.seen.append(record)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def put_expecting(self, data: st.DataObject) -> None:
        expected = data.draw(st.sampled_from(self.seen))
        record = msgspec.structs.replace(expected, **{self.case.witness: self._witness(data)})
        self._same("put", [record], expect=digest(expected))
        self.seen.append(record)

    @rule(data=st.data(), user=st.none() | USERS)
    def delete(self, data: st.DataObject, user: str | None) -> None:
        keys = [data.draw(st.tuples(*(self._key(name) for name in self.case.kind.key_fields))) for _ in range(2)]
        self._same("delete", self.case.kind, keys, user_id=user)

    @rule(user=USERS)
    def delete_where(self, user: str) -> None:
        self._same("delete_where", self.case.kind, {"user_id": user})

    @rule(data=st.data(), user=st.none() | USERS)
    def fetch(self, data: st.DataObject, user: str | None) -> None:
        keys = [data.draw(st.tuples(*(self._key(name) for name in self.case.kind.key_fields))) for _ in range(3)]
        self._same("fetch", self.case.kind, keys, user_id=user)

    @rule(
        data=st.data(),
        user=st.none() | USERS,
        since=st.none() | MOMENTS,
        until=st.none() | MOMENTS,
        tag=st.none() | TEXTS,
        text=st.none() | TEXTS,
        limit=st.none() | st.integers(0, 4),
        oldest_first=st.booleans(),
    )
    def find(self, data: st.DataObject, user: str | None, **options: Any) -> None:
        options["after"] = (
            data.draw(st.none() | st.sampled_from(self.seen).map(lambda one: one.order)) if self.seen else None
        )
        self._same("find", self.case.kind, {} if user is None else {"user_id": user}, **options)

    @rule(page=st.integers(1, 4))
    def walk(self, page: int) -> None:
        answers = {name: list(store.walk(self.case.kind, page=page)) for name, store in self.stores.items()}
        self._compare(answers, f"walk by {page}")

    @rule()
    def count(self) -> None:
        self._same("count", self.case.kind)
        self._same("count", self.case.kind, "user_id")

    def _record(self, data: st.DataObject) -> Any:
        fields: dict[str, Any] = {name: data.draw(self._key(name)) for name in self.case.kind.key_fields}
        fields |= {"user_id": data.draw(USERS), self.case.witness: self._witness(data)}
        if self.case.kind.time_field:
            fields[self.case.kind.time_field] = data.draw(MOMENTS)
        if "session_id" in self.case.kind.stored_fields:
            fields["session_id"] = data.draw(NAMES)
        return self.case.make(**fields)

    def _key(self, name: str) -> st.SearchStrategy[str]:
        return USERS if name == "user_id" else NAMES

    def _witness(self, data: st.DataObject) -> Any:
        if isinstance(self.case.values[0], dict):  # either form may take the other's place
            return data.draw(st.dictionaries(TEXTS, JSON, max_size=3) | st.lists(TEXTS, max_size=3).map(tuple))
        if isinstance(self.case.values[0], tuple):
            return tuple(data.draw(st.lists(TEXTS, max_size=3)))
        return data.draw(NAMES if self.case.witness.endswith("_id") else TEXTS)

    def _same(self, verb: str, *arguments: Any, **options: Any) -> None:
        answers = {name: _answer(getattr(store, verb), arguments, options) for name, store in self.stores.items()}
        self._compare(answers, f"{verb} {arguments} {options}")

    def _compare(self, answers: dict[str, Any], what: str) -> None:
        expected = answers.pop("memory")
        different = {name: answer for name, answer in answers.items() if answer != expected}
        if different:
            pytest.fail(f"{what}\nmemory: {expected!r}\n{different!r}")


def _answer(call: Any, arguments: Any, options: Any) -> Any:
    try:
        return call(*arguments, **options)
    except (OrbError, ValueError) as problem:
        return type(problem)


class AgreementWithMemory:
    """Runs the state machine over the store of `harness_in`, for every kind of record in `cases`.

    Mix it into a subclass of `StoreContract`.
    """

    cases: ClassVar[Sequence[Case]] = CASES
    runs, steps = 12, 50
    """How many machines run for each case, and how many steps each of them does."""

    def harness_in(self, directory: Path) -> Harness:
        """Return the harness of an empty store, which may keep files in a directory of its own."""
        raise NotImplementedError

    def test_the_store_agrees_with_memory_step_by_step(self, case: Case) -> None:
        run_machine(StoreMachine, case, lambda base: [self.harness_in(base)], runs=self.runs, steps=self.steps)


def run_machine(
    machine: type[StoreMachine], case: Case, harnesses_in: Callable[[Path], Sequence[Harness]], *, runs: int, steps: int
) -> None:
    """Run a state machine over a kind of record. A failure prints its steps at once; shrinking them takes minutes."""
    chosen = type(machine.__name__, (machine,), {"case": case, "harnesses_in": staticmethod(harnesses_in)})
    few = settings(max_examples=runs, stateful_step_count=steps, phases=[Phase.generate], deadline=None)
    run_state_machine_as_test(chosen, settings=few)
