"""A save in SQL is tried again where others were in the way, so many times, and never within a caller's transaction."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connections, transaction

from luna.domain import DOMAIN as LUNA
from orbsite.storage.base.store import by_kind
from orbsite.storage.database_errors import refusal
from orbsite.storage.errors import Conflict, LockTimeout, SaveFailed
from orbsite.storage.records.digest import digest
from orbsite.storage.sql.retry import RETRIES, TransactionRetry
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.factories import ActiveModeFactory, ProfileFactory, ReflectionFactory
from tests.support.scratch import ALIAS, aside, execute, of_sqlite, scratch
from tests.support.time_limits import time_limit

on_servers = pytest.mark.django_db(transaction=True, databases="__all__")
PAUSES = [0.05, 0.1, 0.2, 0.4, 0.8]


class Pauses(list[float]):
    """Notes the pauses, each as long as it may be, and does something in the last of so many."""

    def __init__(self, number: int = 0, act: Callable[[], Any] = lambda: None) -> None:
        self._number, self._act = number, act

    def __call__(self, seconds: float) -> None:
        self.append(seconds)
        if len(self) == self._number:
            self._act()

    def of(self, alias: str) -> TransactionRetry:
        return TransactionRetry(alias, lambda _, longest: longest, self)


def _store(alias: str, pauses: Pauses | None = None) -> SqlStore:
    store = SqlStore(TE, alias)
    store._attempts = (Pauses() if pauses is None else pauses).of(alias)
    return store


@pytest.fixture
def file(tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    with django_db_blocker.unblock(), scratch(tmp_path / "db", timeout=0) as alias:
        yield alias


@pytest.fixture
def server(postgresql_alias: str) -> str:
    return postgresql_alias


@pytest.fixture(params=["file", pytest.param("server", marks=on_servers)])
def alias(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


class Holder:
    """Another connection, which keeps everybody from one record until it lets go."""

    def __init__(self, alias: str, record: Reflection) -> None:
        connection = connections[alias]
        if connection.vendor == "sqlite":
            self._other: Any = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
            self._other.execute("BEGIN IMMEDIATE")
        else:
            execute(alias, "SET lock_timeout = '20ms'")
            self._other = connection.Database.connect(**connection.get_connection_params())
            self._other.execute("SELECT 1 FROM te_reflections WHERE id = %s FOR UPDATE", [record.id])

    def let_go(self) -> None:
        self._other.rollback()
        self._other.close()


def _verbs(store: SqlStore, old: Reflection) -> list[Callable[[], Any]]:
    new = ReflectionFactory(id=old.id, input="new")
    return [
        lambda: store.put([new], expect=digest(old)),
        lambda: store.delete(Reflection, iter([old.key])),
        lambda: store.delete_where(Reflection, {"user_id": old.user_id}),
    ]


@pytest.mark.parametrize("verb", range(3))
def test_a_save_succeeds_as_soon_as_others_let_go(alias: str, verb: int) -> None:
    old = ReflectionFactory()
    _store(alias).put([old])
    holder = Holder(alias, old)
    pauses = Pauses(3, holder.let_go)
    _verbs(_store(alias, pauses), old)[verb]()
    assert pauses == PAUSES[:3]
    assert _store(alias).fetch(Reflection, [old.key]).get(old.key) != old


@pytest.mark.parametrize("verb", range(3))
def test_a_save_is_given_up_after_six_attempts_and_nothing_was_written(alias: str, verb: int) -> None:
    old, pauses = ReflectionFactory(), Pauses()
    _store(alias).put([old])
    holder = Holder(alias, old)
    with pytest.raises(
        LockTimeout, match=r"conflicted with other transactions 6 times \(.*nothing was written; try again"
    ):
        _verbs(_store(alias, pauses), old)[verb]()
    holder.let_go()
    assert (pauses, RETRIES) == (PAUSES, 5)
    assert _store(alias).fetch(Reflection, [old.key]) == {old.key: old}


def test_an_add_is_tried_again_too(file: str) -> None:
    record = ReflectionFactory()
    pauses = Pauses(1, Holder(file, record).let_go)
    assert _store(file, pauses).add(record) == (record, True)
    assert _store(file, pauses).add(record) == (record, False)
    assert len(pauses) == 1


def test_nothing_is_tried_again_within_a_transaction_of_the_caller(alias: str) -> None:
    old, pauses = ReflectionFactory(), Pauses()
    _store(alias).put([old])
    execute(alias, "SELECT 1")
    with transaction.atomic(alias):
        holder = Holder(alias, old) if alias != "scratch" else None
        if holder is None:
            _refuse_the_next_statement(alias)
        with pytest.raises(OperationalError):
            _store(alias, pauses).put([ReflectionFactory(id=old.id)])
        transaction.set_rollback(True, alias)
    if holder:
        holder.let_go()
    assert pauses == []


def _refuse_the_next_statement(alias: str) -> None:
    def busy(*_: Any) -> None:
        raise of_sqlite(sqlite3.SQLITE_BUSY)

    stack = contextlib.ExitStack()
    stack.enter_context(connections[alias].execute_wrapper(lambda *call: (stack.close(), busy())))


@on_servers
def test_a_transaction_that_cannot_be_serialized_is_run_again_as_a_whole(server: str) -> None:
    counter, pauses = ReflectionFactory(input="0"), Pauses()
    store = _store(server, pauses)
    store.put([counter])
    read: list[str] = []

    def act() -> None:
        (old,) = store.fetch(Reflection, [counter.key]).values()
        read.append(old.input)
        if len(read) == 1:
            aside(server, lambda: _store(server).put([ReflectionFactory(id=counter.id, input="7")]))
        store.put([ReflectionFactory(id=counter.id, input=old.input + "+1")])

    execute(server, "SET default_transaction_isolation = 'serializable'")
    try:
        store._attempts.run(act)
    finally:
        connections[server].close()
    assert (read, pauses) == (["0", "7"], PAUSES[:1])
    assert store.fetch(Reflection, [counter.key])[counter.key].input == "7+1"


def test_a_conflict_is_no_matter_of_trying_again(alias: str) -> None:
    old, pauses = ReflectionFactory(), Pauses()
    store = _store(alias, pauses)
    store.put([old])
    with pytest.raises(Conflict):
        store.put([old], expect="0" * 64)
    with pytest.raises(IntegrityError):
        store._attempts.run(lambda: execute(alias, "UPDATE te_reflections SET user_id = NULL"))
    assert pauses == []


@on_servers
def test_whoever_is_the_victim_of_a_deadlock_saves_in_the_end(server: str) -> None:
    names = ("a", "b")
    _store(server).put([ReflectionFactory(id=name, input="") for name in names])
    both, pauses = threading.Barrier(2), Pauses()

    def update(name: str) -> None:
        execute(server, "UPDATE te_reflections SET notes = CONCAT(notes, 'x') WHERE id = %s", name)

    def run(order: tuple[str, ...]) -> None:
        tried: list[bool] = []

        def act() -> None:
            update(order[0])
            if not tried:
                tried.append(True)
                both.wait(time_limit(10))
            update(order[1])

        try:
            execute(server, "SET deadlock_timeout = '20ms'")
            TransactionRetry(server, lambda low, high: low, pauses).run(act)
        finally:
            connections[server].close()

    threads = [threading.Thread(target=run, args=(order,)) for order in (names, names[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(time_limit(20))
    assert [one.notes for one in _store(server).find(Reflection)] == ["xx", "xx"]
    assert pauses


def test_kinds_are_written_in_one_order_whatever_their_keys_are() -> None:
    early, late = ActiveModeFactory(user_id="a"), ActiveModeFactory(user_id="z")
    profile = ProfileFactory(user_id="m")
    orders = [[kind for kind, _ in by_kind(records)] for records in ([early, profile], [late, profile])]
    assert orders[0] == orders[1]
    assert set(orders[0]) < set(LUNA.kinds) | {Reflection}


def test_a_full_database_says_that_nothing_is_lost_and_what_to_do(tmp_path: Path, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock(), scratch(tmp_path / "db"):
        store = SqlStore(TE, ALIAS)
        store.put([ReflectionFactory(id="first")])
        pages = execute(ALIAS, "PRAGMA page_count")[0]
        execute(ALIAS, f"PRAGMA max_page_count = {pages}")
        with pytest.raises(
            SaveFailed, match=r"/db cannot take this step, and nothing was written: .* make room, then run"
        ):
            store.put([ReflectionFactory(id=f"{n}", input="x" * 10_000) for n in range(50)])
        assert store.count(Reflection) == 1
        execute(ALIAS, f"PRAGMA max_page_count = {pages * 100}")
        store.put([ReflectionFactory(id="second", input="x" * 100_000)])


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("53100", "its disk is full; nothing of this step was written. Make room on the server, then run it again"),
        ("25006", "is read-only: a standby, or default_transaction_read_only is on"),
        ("42501", "lacks the privilege"),
    ],
)
def test_a_refusal_of_postgresql_says_what_to_do(state: str, says: str) -> None:
    cause = Exception("quotes 'what a user wrote'")
    cause.sqlstate = state  # type: ignore[attr-defined]
    problem = OperationalError("quotes 'what a user wrote'")
    problem.__cause__ = cause
    refused = refusal(problem)
    assert isinstance(refused, SaveFailed)
    assert says in str(refused)
    assert "what a user wrote" not in str(refused)
