"""Sessions past a pooler: what needs one gets one, and is refused before harm where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections, transaction

from orbsite.operations.ledger.runs import alone
from orbsite.storage.errors import LockTimeout, StoreUnavailable
from orbsite.storage.postgresql.session import own_session, pools_transactions, session_of
from orbsite.storage.sql.store import SqlStore
from orbsite.testing.cases import CASES
from tests.support.pgbouncer import or_skipped, past_the_pooler, pooled_alias
from tests.support.scratch import aside
from tests.torture.databases import migrated

CASE = CASES[-1]
Place = dict[str, Any]


@pytest.fixture
def place(tmp_path: Path, django_db_blocker: Any) -> Iterator[Place]:
    """Where a database of this test is, past every pooler."""
    with or_skipped(), migrated("postgresql", tmp_path) as database, django_db_blocker.unblock():
        yield database.place


def _asked(place: Place, statement: str, *values: Any) -> Any:
    """Return a row from the database, past every pooler."""
    where = {"host": place["HOST"], "port": place["PORT"], "user": place["USER"], "dbname": place["NAME"]}
    with psycopg.connect(**where) as connection:
        return connection.execute(statement, values).fetchone()


def _locks(place: Place) -> Any:
    own = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    return _asked(place, f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND {own}")


def test_a_session_past_the_pooler_stays_the_same_and_ends_with_the_block(place: Place) -> None:
    with pooled_alias(place, **past_the_pooler(place)) as alias:
        pooled = connections[alias]
        assert pools_transactions(pooled)
        with own_session(alias):
            session = session_of(connections[alias])
            assert {session_of(connections[alias]) for _ in range(9)} == {session}
            with own_session(alias):
                assert session_of(connections[alias]) == session
        assert connections[alias] is pooled
        found = _asked(place, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", session)
        assert found == (0,)


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_without_a_session_a_run_is_refused_and_no_lock_is_left(place: Place, mode: Any) -> None:
    with pooled_alias(place, mode) as alias:
        with pytest.raises(StoreUnavailable, match="Set DATABASE_DIRECT_URL"), alone(alias):
            pass
        assert _locks(place) == (0,)


@pytest.mark.parametrize("is_pooled", [False, True])
def test_a_pool_of_sessions_or_an_address_past_the_pooler_excludes_other_runs(place: Place, is_pooled: bool) -> None:
    mode: Any = "transaction" if is_pooled else "session"
    more = past_the_pooler(place) if is_pooled else {}
    refused = []

    def run_beside(alias: str) -> None:
        try:
            with alone(alias):
                pass
        except LockTimeout as problem:
            refused.append(problem)

    with pooled_alias(place, mode, **more) as alias:
        with alone(alias):
            aside(alias, lambda: run_beside(alias))
            assert len(refused) == 1
            with alone(alias):  # as whoever takes the lock again may
                assert _locks(place) == (1,)
        assert _locks(place) == (0,)
        aside(alias, lambda: run_beside(alias))
        assert len(refused) == 1


def test_a_transaction_has_its_session_already(place: Place) -> None:
    with pooled_alias(place) as alias, transaction.atomic(alias):
        session = session_of(connections[alias])
        with own_session(alias):
            assert session_of(connections[alias]) == session


def test_a_pool_of_statements_saves_nothing_and_says_what_to_change(place: Place) -> None:
    with pooled_alias(place, "statement") as alias:
        store = SqlStore(CASE.domain, alias)
        with pytest.raises(
            StoreUnavailable, match=r"refuses transactions; nothing .* Set its pool_mode to transaction"
        ):
            store.put([CASE.make()])
        assert store.count(CASE.kind) == 0


def test_a_comparison_leaves_no_table_in_a_session_of_others(place: Place) -> None:
    with pooled_alias(place, **past_the_pooler(place)) as alias:
        store = SqlStore(CASE.domain, alias)
        for _ in range(3):
            compared = store.compare(store.make_batch(CASE.kind, [CASE.make()], [0]))
            assert list(compared.free) == [0]
        assert _asked(place, "SELECT count(*) FROM pg_class WHERE relname LIKE 'stage%%'") == (0,)
