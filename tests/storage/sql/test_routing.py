"""Every verb of the SQL store names the user in every statement, except those that are for all users by their nature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import connections
from django.db.models import Q
from typing_extensions import override

from orbsite.operations.files.export import export
from orbsite.operations.retention.apply import retain
from orbsite.operations.search_index import index
from orbsite.storage.base.query import Query
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Record, columns
from orbsite.storage.records.unreadable import Unread
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.compiled_query import PageQuery
from orbsite.storage.sql.keyset_pagination import records
from orbsite.storage.sql.models import LEDGER
from orbsite.storage.sql.raw_columns import named_rows
from orbsite.storage.sql.store import SqlStore
from orbsite.storage.statistics.counts import statistics_of
from orbsite.storage.statistics.sessions import groups
from te.domain import DOMAIN as TE
from te.records import Reflection
from te.reflection_log import ReflectionLog
from tests.contract.harness import SECRETS
from tests.operations.records.test_sealing import forget_keys
from tests.support import crossing
from tests.support.cases import CASES, Case
from tests.support.factories import ReflectionFactory
from tests.support.routing import StatementLog, Unrouted, owned_tables, reach, watching

pytestmark = pytest.mark.django_db(databases="__all__")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NO_ROWS = {"journal_size", "transaction", "loading", "make_batch"}
"""The methods that run no statement on rows of users."""


@pytest.fixture(params=["default", "postgresql"])
def alias(request: pytest.FixtureRequest) -> str:
    return "default" if request.param == "default" else request.getfixturevalue("postgresql_alias")


@dataclass
class Try:
    """One store with three records, of which the first two are stored."""

    store: SqlStore
    case: Case
    one: Record
    two: Record
    free: Record

    @property
    def user(self) -> str:
        return str(self.one.user_id)

    def batch(self) -> Any:
        return self.store.make_batch(self.case.kind, [self.free], [None])

    def query(self, **more: Any) -> Query:
        return Query(where={"user_id": self.user}, limit=5, max_bytes=100_000, **more)


VERBS: dict[str, Callable[[Try], Any]] = {
    "fetch": lambda it: [
        it.store.fetch(it.case.kind, keys, user_id=user)
        for user in (None, it.user)
        for keys in ([it.one.key], [it.one.key, it.two.key], [it.one.key, _of("bo", it.case).key])
    ],
    "find": lambda it: [
        it.store.find(it.case.kind, {"user_id": it.user}, **more)
        for more in ({}, {"limit": 1, "after": it.one.order}, {"max_bytes": 10, "oldest_first": True})
    ],
    "select": lambda it: it.store.select(it.case.kind, it.query()),
    "printed": lambda it: it.store.printed(it.case.kind, it.query()),
    "add": lambda it: [it.store.add(it.free), it.store.add(it.one)],
    "put": lambda it: [
        it.store.put([it.one, it.free]),
        it.store.put([it.case.changed(it.one)], expect=digest(it.one)),
        it.store.put([it.two], free=True),
        it.store.put([it.one, _of("bo", it.case)]),
    ],
    "delete": lambda it: [
        it.store.delete(it.case.kind, [it.one.key], user_id=it.user, expect=digest(it.one)),
        it.store.delete(it.case.kind, [it.two.key, it.free.key]),
    ],
    "delete_where": lambda it: it.store.delete_where(it.case.kind, {"user_id": it.user}),
    "at_one_moment": lambda it: _entered(it.store.at_one_moment(user_id=it.user)),
    "rows": lambda it: [it.store.rows(it.case.kind, [it.one.key, it.free.key], lock=lock) for lock in (False, True)],
    "present": lambda it: it.store.present(it.case.kind, [it.one.key, _of("bo", it.case).key]),
    "load": lambda it: it.store.load([(it.one, 3), (it.free, 4)], None),
    "insert": lambda it: it.store.insert(it.batch(), [0], None),
    "records_of": lambda it: list(it.store.records_of(it.case.kind, _rows(it).filter(user_id=it.user), Unread(None))),
}
"""How each verb is called for one user, or for two."""


def _entered(context: Any) -> None:
    with context as (snapshot, *_):
        for kind in snapshot.domain.kinds:
            list(snapshot.records(kind))


def _rows(it: Try) -> Any:
    return it.store._rows(it.case.kind)


def _of(user: str, case: Case) -> Record:
    return msgspec.structs.replace(case.make(), user_id=user)


CASES_WITH_OWNER = [case for case in CASES if "user_id" in case.kind.key_fields]


def _tried(kind: type[SqlStore], alias: str, case: Case) -> Try:
    store, one, two, free = kind(case.domain, alias), case.make(), case.make(), case.make()
    SqlStore(case.domain, alias).put([one, two])
    return Try(store, case, one, two, free)


def _called(verb: str, it: Try, alias: str) -> StatementLog:
    with watching(alias) as watched:
        VERBS[verb](it)
    return watched


def _wrong(watched: StatementLog, *users: str) -> list[str]:
    """Return what a verb must not do: statements without a user, or with the key of another one."""
    others = {user for one in watched.reached for user in one.users} - {*users, "bo"}
    listed = [str(one) for one in watched.unrouted if one.statement not in crossing.STATEMENTS]
    return listed + [f"the rows of {user} too" for user in sorted(others)]


def test_every_verb_is_tried_or_listed() -> None:
    public = {
        name for name, one in inspect.getmembers(SqlStore) if not name.startswith("_") and inspect.isfunction(one)
    }
    assert set(VERBS) | set(crossing.VERBS) | NO_ROWS == public
    assert not set(VERBS) & set(crossing.VERBS)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", CASES_WITH_OWNER, ids=lambda case: case.id)
def test_a_verb_names_the_user_in_every_statement(verb: str, case: Case, alias: str) -> None:
    it = _tried(SqlStore, alias, case)
    watched = _called(verb, it, alias)
    users = [str(record.user_id) for record in (it.one, it.two, it.free)]
    assert not _wrong(watched, *users)
    assert watched.reached or verb == "printed" or alias == "default", "no statement was seen"


def test_the_question_that_a_save_asks_once_a_minute_is_listed(alias: str) -> None:
    it = _tried(SqlStore, alias, CASES_WITH_OWNER[0])
    forget_keys()
    watched = _called("add", it, alias)
    asked = [one.statement for one in watched.unrouted]
    assert len(asked) == 1
    assert asked[0] in crossing.STATEMENTS


@pytest.mark.parametrize("verb", ["fetch", "find", "put", "delete", "at_one_moment"])
def test_so_it_does_where_texts_are_sealed(verb: str, alias: str, settings: Any) -> None:
    settings.ORB_KEYS = SECRETS
    case = next(case for case in CASES if case.kind is Reflection)
    it = _tried(SqlStore, alias, case)
    watched = _called(verb, it, alias)
    assert not _wrong(watched, it.user)


@pytest.mark.parametrize("verb", VERBS)
def test_a_record_whose_key_lacks_the_user_is_found_by_its_whole_key(verb: str, alias: str) -> None:
    (case,) = (case for case in CASES if "user_id" not in case.kind.key_fields)
    it = _tried(SqlStore, alias, case)
    assert not _called(verb, it, alias).unrouted


def test_the_sessions_of_a_user_are_counted_for_that_user(alias: str) -> None:
    store = SqlStore(TE, alias)
    store.put([ReflectionFactory(id=f"r{n}", user_id="ana", session_id=f"s{n % 2}") for n in range(4)])
    with watching(alias) as watched:
        assert len(groups(store, Reflection, "ana", limit=1)) == 1
    assert watched.reached
    assert not _wrong(watched, "ana")


ALL_USERS: dict[str, Callable[[SqlStore, Path], Any]] = {
    "walk": lambda store, _: list(store.walk(Reflection, page=2)),
    "count": lambda store, _: [store.count(Reflection), store.count(Reflection, "session_id")],
    "sums": lambda store, _: store.sums(Reflection),
    "refused": lambda store, _: store.refused(),
    "count_written": lambda store, _: store.count_written(Reflection, 1),
    "written_by": lambda store, _: list(store.written_by(Reflection, 1)),
    "size": lambda store, _: store.size(),
    "compare": lambda store, _: store.compare(store.make_batch(Reflection, [ReflectionFactory(user_id="bo")], [None])),
    "export of everybody": lambda store, path: export([store], path / "export"),
    "plan of retention": lambda store, _: retain([store], Policy(max_age_days=1), now=lambda: NOW, dry_run=True),
    "retention": lambda store, _: retain([store], Policy(max_per_session=1), now=lambda: NOW, force=True),
    "search index": lambda store, _: index([TE], now=lambda: NOW, using=store.using),
    "statistics": lambda store, _: [
        statistics_of(store).span(Reflection),
        statistics_of(store).per_day(Reflection, [NOW.date()]),
        statistics_of(store).tally(Reflection, "session_id", 3),
        statistics_of(store).tally(Reflection, "tags", 3),
        statistics_of(store).before(Reflection, [NOW]),
    ],
    "guide, without a user": lambda store, _: [
        ReflectionLog(store).get_reflections_by_session("s"),
        ReflectionLog(store).get_reflection("r1"),
    ],
}
"""What is for all users: the verbs that are listed, and what is made of them."""


def test_all_that_is_listed_is_tried() -> None:
    assert set(crossing.VERBS) <= set(ALL_USERS)


@pytest.mark.parametrize("what", ALL_USERS)
def test_what_is_for_all_users_reads_in_limited_memory(what: str, on_postgresql: None, tmp_path: Path) -> None:
    store = SqlStore(TE)
    store.put([ReflectionFactory(id=f"r{n}", user_id=f"user-{n}", session_id="s") for n in range(5)])
    with watching("default") as watched:
        ALL_USERS[what](store, tmp_path)
    assert not [str(one) for one in watched.unrouted if not one.is_bounded]
    assert watched.unrouted or what == "size", "it is listed, though it names its users"


class FetchesByIdAlone(SqlStore):
    """Finds the key of a user by the part that is not the user."""

    @override
    def _fetch_one(self, kind: Any, key: Any, owned: Any, unread: Unread) -> Any:
        page = PageQuery(self.domain.models[kind], self.using, kind.key_fields, True, 5)
        found = records(page, {kind.key_fields[-1]: key[-1]}, None, kind, unread=unread)
        return [one for one in found if one.key == key]


class FiltersInPython(SqlStore):
    """Reads all rows, and picks those of the user."""

    @override
    def select(self, kind: Any, query: Query, findings: Any = None) -> Any:
        return [one for one in self.walk(kind) if one.user_id == query.where["user_id"]]


class DeletesByPrimaryKey(SqlStore):
    """Deletes by a key that does not contain the user."""

    @override
    def _delete(self, kind: Any, keys: Any, user_id: Any, expect: Any = None) -> int:
        rows = self._rows(kind)
        found = list(rows.filter(user_id__in=[key[0] for key in keys]).values_list("row_id", flat=True))
        return int(rows.filter(row_id__in=found).delete()[0])


class ChangesTheOwner(SqlStore):
    """Sets every column, as Django's own save does."""

    @override
    def _replace(self, wanted: Any, expect: Any) -> None:
        for record in wanted:
            row = {name: getattr(record, name) for name in ("user_id", "input")}
            self._rows(type(record)).filter(user_id=record.user_id, id=record.id).update(**row)


class LocksRowsOfOthers(SqlStore):
    """Names the user in one branch of a condition only."""

    @override
    def rows(self, kind: Any, keys: Any, *, lock: bool = False) -> Any:
        condition = Q(user_id=keys[0][0], id=keys[0][1]) | Q(id__in=[key[1] for key in keys])
        list(named_rows(self._rows(kind).filter(condition), (*columns(kind), *LEDGER)))
        return super().rows(kind, keys, lock=lock)


class SnapshotsEverybody(SqlStore):
    """Copies all rows, though one user was asked for."""

    @override
    def at_one_moment(self, *others: Any, user_id: str | None = None) -> Any:
        return super().at_one_moment(*others)


class ReadsAnotherUser(SqlStore):
    """Names a user, who is another one."""

    @override
    def present(self, kind: Any, keys: Any) -> Any:
        return super().present(kind, [("someone-else", *key[1:]) for key in keys])


class CountsInRawSql(SqlStore):
    """Asks by raw SQL, past Django's queries."""

    @override
    def printed(self, kind: Any, query: Query) -> Any:
        with connections[self.using].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM te_reflections r WHERE r.session_id = %s", ["s"])
        return super().printed(kind, query)


MUTANTS = {
    FetchesByIdAlone: "fetch",
    FiltersInPython: "find",
    DeletesByPrimaryKey: "delete",
    ChangesTheOwner: "put",
    LocksRowsOfOthers: "rows",
    SnapshotsEverybody: "at_one_moment",
    ReadsAnotherUser: "present",
    CountsInRawSql: "printed",
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_broken_verb_is_found(mutant: type[SqlStore], alias: str) -> None:
    case = next(case for case in CASES if case.kind is Reflection)
    it = _tried(mutant, alias, case)
    assert _wrong(_called(MUTANTS[mutant], it, alias), it.user)


ROUTED = [
    "SELECT * FROM te_reflections WHERE user_id = %s",
    "SELECT * FROM te_reflections t WHERE (t.id = 'x' AND (t.user_id = %s))",
    "SELECT * FROM te_reflections WHERE user_id IN (%s) AND id > 'a'",
    "WITH w AS (SELECT user_id, key FROM orb_words WHERE user_id = %s) "
    "SELECT r.id FROM w JOIN te_reflections r ON r.user_id = w.user_id AND r.id = w.key",
    "SELECT 1 FROM te_reflections r WHERE r.user_id = %s "
    "AND EXISTS (SELECT 1 FROM orb_words w WHERE w.user_id = r.user_id AND w.key = r.id)",
    "UPDATE te_reflections SET input = 'x' WHERE user_id = %s AND id = 'r'",
    "DELETE FROM te_reflections WHERE user_id = %s",
    "INSERT INTO te_reflections (id, user_id) VALUES ('r', %s) ON CONFLICT (user_id, id) DO UPDATE SET input = 'x'",
    "SELECT * FROM orb_user_keys WHERE id IN (%s)",
]
UNROUTED = [
    "SELECT * FROM te_reflections WHERE id = %s",
    "SELECT * FROM te_reflections WHERE user_id = %s OR id = 'x'",
    "SELECT * FROM te_reflections WHERE NOT user_id = %s",
    "SELECT * FROM te_reflections WHERE user_id <> %s",
    "SELECT * FROM te_reflections WHERE user_id > %s",
    "SELECT * FROM te_reflections WHERE lower(user_id) = %s",
    "SELECT * FROM te_reflections WHERE user_id = session_id AND id = %s",
    "SELECT * FROM te_reflections WHERE user_id IN (SELECT user_id FROM luna_profiles WHERE mode_id = %s)",
    "SELECT r.id FROM orb_words w JOIN te_reflections r ON r.id = w.key WHERE w.user_id = %s",
    "SELECT r.id FROM te_reflections r LEFT JOIN orb_words w ON w.user_id = %s AND w.key = r.id",
    "SELECT 1 FROM te_reflections r WHERE r.user_id = %s AND EXISTS (SELECT 1 FROM orb_words w WHERE w.key = r.id)",
    "SELECT (SELECT count(*) FROM luna_profiles) FROM te_reflections WHERE user_id = %s",
    "SELECT id FROM te_reflections WHERE user_id = %s UNION SELECT id FROM te_reflections",
    "WITH w AS (SELECT user_id FROM orb_words WHERE key = %s) "
    "SELECT 1 FROM w JOIN te_reflections r ON r.user_id = w.user_id",
    "UPDATE te_reflections SET input = 'x' WHERE id = %s",
    "UPDATE te_reflections SET user_id = 'bo' WHERE user_id = %s",
    "DELETE FROM te_reflections WHERE row_id = %s",
    "INSERT INTO te_reflections (id) VALUES (%s)",
    "INSERT INTO te_reflections (id, user_id) VALUES ('r', %s) ON CONFLICT (id) DO UPDATE SET user_id = 'bo'",
    "INSERT INTO te_reflections (id, user_id) SELECT id, user_id FROM te_reflections WHERE id = %s",
    "SELECT * FROM orb_user_keys WHERE wrapped_by = %s",
    "SELECT * FROM orb_answers WHERE key = %s",
    "TRUNCATE te_reflections /* %s */",
]


def _reached(statement: str, vendor: str) -> Iterator[str]:
    found = reach(statement, ["ana"], vendor, owned_tables())
    assert found is not None
    yield from found.unrouted


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
@pytest.mark.parametrize("statement", ROUTED)
def test_a_statement_that_names_the_user_is_seen_as_one(statement: str, vendor: str) -> None:
    assert not list(_reached(statement, vendor))


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
@pytest.mark.parametrize("statement", UNROUTED)
def test_a_statement_that_does_not_is_refused(statement: str, vendor: str) -> None:
    try:
        unrouted = list(_reached(statement, vendor))
    except Unrouted:
        return
    assert unrouted


def test_another_table_is_of_no_interest() -> None:
    assert reach("SELECT * FROM orb_jobs WHERE id = %s", [1], "postgresql", owned_tables()) is None
