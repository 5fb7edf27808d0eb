"""Every store side by side with memory, step by step: same answers, same errors."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import connections
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from orbsite.storage.errors import OrbError
from orbsite.storage.records.digest import digest
from tests.contract import harness
from tests.support.cases import CASES, Case
from tests.support.effort import effort
from tests.support.factories import BEGIN

pytestmark = pytest.mark.slow

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


class Machine(RuleBasedStateMachine):
    case: Case
    aliases: tuple[str, ...]
    is_sealed: bool
    """Whether the tables are sealed."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.base = Path(self.directory.name)
        self.harnesses = [harness.memory(), harness.file(self.base / "file"), harness.journal(self.base / "journal")]
        self.harnesses += [harness.file(self.base / "compressed", "compressed ")]
        self.harnesses += [harness.journal(self.base / "sealed", "sealed ")]
        self.harnesses += [harness.version_2(harness.journal(self.base / "version 2"), self.base / "version 2")]
        self.harnesses += [harness.sql(alias, is_sealed=self.is_sealed) for alias in self.aliases]
        self.stores: dict[str, Any] = {}
        self.reopen()
        self.seen: list[Any] = []
        for alias in self.aliases:
            for model in self.case.domain.models.values():
                model._base_manager.using(alias).all().delete()

    @rule()
    def reopen(self) -> None:
        """As after a crash of the process: what was in memory is gone, and nobody has closed anything."""
        self.stores = {one.name: one.open(self.case.domain) for one in self.harnesses}

    @rule()
    def fold(self) -> None:
        self.stores["journal"].fold()
        self.stores["sealed journal"].fold()
        self.stores["version 2 journal"].fold()

    @rule(data=st.data())
    def tear_the_end_off(self, data: st.DataObject) -> None:
        """As after a power cut in the middle of a save that was never acknowledged."""
        path = self.base / f"journal/{self.case.domain.file}.journal"
        if path.exists():
            end = data.draw(st.sampled_from([b'{"journal":', b"\0" * 70, b'{"journal":"0","seq":1}\n']))
            with path.open("ab") as journal:
                journal.write(end)

    @rule()
    def look_behind(self) -> None:
        answers = {
            one.name: one.look(self.case)
            for one in self.harnesses
            if one.name in ("memory", "file", "compressed file", "sealed journal", "version 2 journal")
        }
        self._compare(answers, "what lies there")

    def teardown(self) -> None:
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
        fields = {name: data.draw(self._key(name)) for name in self.case.kind.key_fields}
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


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_stores_agree_step_by_step(case: Case) -> None:
    _run(case, is_sealed=False, examples=12)


@pytest.mark.deep
@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("case", [case for case in CASES if case.kind.private_fields], ids=lambda case: case.id)
def test_stores_agree_step_by_step_with_sealed_tables(case: Case, settings: Any) -> None:
    settings.ORB_KEYS = harness.SECRETS
    _run(case, is_sealed=True, examples=effort(4, 12))


def _run(case: Case, *, is_sealed: bool, examples: int) -> None:
    aliases = tuple(name for name in ("default", "postgresql") if name in connections)
    machine = type("Machine", (Machine,), {"case": case, "aliases": aliases, "is_sealed": is_sealed})
    # a failure prints its steps at once, for shrinking them would take minutes
    few = hypothesis_settings(max_examples=examples, stateful_step_count=50, phases=[Phase.generate])
    run_state_machine_as_test(machine, settings=few)
