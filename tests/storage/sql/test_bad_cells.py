"""One cell that cannot be read is one finding with the row's key; every reader goes on past it, and prints no text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orbsite.storage.base.snapshot import snapshots
from orbsite.storage.errors import RecordUnreadable
from orbsite.storage.findings import Finding, Unreadable
from orbsite.storage.sql.store import SqlStore
from orbsite.storage.statistics.sessions import groups
from te.domain import DOMAIN
from te.records import Reflection
from tests.support.bad_cells import OF_POSTGRESQL, OF_SQLITE, SECRET, Cell, reflections, spoil

pytestmark = pytest.mark.django_db(databases="__all__")

CELLS = [("default", cell) for cell in OF_SQLITE] + [("postgresql", cell) for cell in OF_POSTGRESQL]
BAD = "d"


@pytest.fixture(params=CELLS, ids=lambda one: f"{one[0]}-{one[1].id}")
def spoiled(request: pytest.FixtureRequest) -> tuple[SqlStore, Cell, list[Reflection]]:
    """A store of seven reflections, the middle one of which does not decode, and the others."""
    alias, cell = request.param
    if alias == "postgresql":
        request.getfixturevalue("postgresql_alias")
    store, records = SqlStore(DOMAIN, alias), reflections()
    store.put(records)
    spoil(alias, cell, BAD)
    return store, cell, [one for one in records if one.id != BAD]


def _key(cell: Cell) -> tuple[str, str]:
    """Return the key of the row that does not decode."""
    return ("" if cell.column == "user_id" else "ana", BAD)


def _named(findings: list[Finding]) -> list[tuple[str, ...]]:
    assert all(isinstance(one, Unreadable) and one.kind == "reflections" for one in findings)
    assert SECRET not in str(findings)
    return [one.key for one in findings if isinstance(one, Unreadable)]


def test_fetch_names_the_row_and_returns_the_others(spoiled: Any) -> None:
    store, cell, others = spoiled
    findings: list[Finding] = []
    found = store.fetch(Reflection, [*(one.key for one in others), _key(cell)], findings=findings)
    assert found == {one.key: one for one in others}
    assert _named(findings) == [_key(cell)]


@pytest.mark.parametrize("page", [1, 2, 3, 7, 1000])
def test_walk_names_the_row_once_and_yields_the_others_once(spoiled: Any, page: int) -> None:
    store, cell, others = spoiled
    findings: list[Finding] = []
    assert list(store.walk(Reflection, page=page, findings=findings)) == others
    assert _named(findings) == [_key(cell)]


@pytest.mark.parametrize("oldest_first", [False, True])
def test_find_goes_on_past_the_row(spoiled: Any, oldest_first: bool) -> None:
    store, cell, others = spoiled
    findings: list[Finding] = []
    where = {} if cell.column == "user_id" else {"user_id": "ana"}
    expected = others if oldest_first else others[::-1]
    assert store.find(Reflection, where, oldest_first=oldest_first, findings=findings) == expected
    assert _named(findings) == [_key(cell)]
    assert store.find(Reflection, where, tag="no such tag") == []
    assert store.find(Reflection, where, text=others[0].input, oldest_first=oldest_first)


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("oldest_first", [False, True])
def test_pages_neither_skip_nor_repeat_nor_end_early(spoiled: Any, limit: int, oldest_first: bool) -> None:
    store, cell, others = spoiled
    seen: list[Reflection] = []
    findings: list[Finding] = []
    for _ in range(20):
        after = seen[-1].order if seen else None
        page = store.find(Reflection, after=after, limit=limit, oldest_first=oldest_first, findings=findings)
        seen += page
        if len(page) < limit:
            break
    assert seen == (others if oldest_first else others[::-1])
    assert {*_named(findings)} <= {_key(cell)}


def test_what_is_remembered_of_the_row_says_that_it_does_not_decode(spoiled: Any) -> None:
    store, cell, others = spoiled
    rows = store.rows(Reflection, [_key(cell), others[0].key])
    bad = rows[_key(cell)]
    assert (bad.record, bad.as_left, rows[others[0].key].record) == (None, False, others[0])
    assert _named([rows[_key(cell)].why]) == [_key(cell)]


def test_sums_and_counts_know_the_row(spoiled: Any) -> None:
    store, cell, _ = spoiled
    whole = SqlStore(DOMAIN, store.using)
    assert (store.count(Reflection), store.refused()) == (7, 1)
    assert store.sums(Reflection).records == 7
    assert store.delete(Reflection, [_key(cell)]) == 0
    assert whole.sums(Reflection).digest != ""


def test_the_row_is_never_replaced_or_removed(spoiled: Any) -> None:
    store, cell, _ = spoiled
    again = next(one for one in reflections() if one.id == BAD)
    if cell.column == "user_id":  # the row has another key then, which no record can have, and this one is free
        assert store.add(again) == (again, True)
    else:
        with pytest.raises(RecordUnreadable) as caught:
            store.add(again)
        assert SECRET not in str(caught.value)
    assert store.delete_where(Reflection, {"user_id": "ana"}) == (7 if cell.column == "user_id" else 6)
    assert store.count(Reflection) == 1


def test_a_snapshot_names_the_row(spoiled: Any) -> None:
    store, cell, others = spoiled
    findings: list[Finding] = []
    with snapshots([store]) as (taken,):
        found = list(taken.records(Reflection, findings))
        assert [one.record for one in found] == others
        assert [taken.again(Reflection, one.at) for one in found] == others
    assert _named(findings) == [_key(cell)]


def test_groups_count_what_decodes_of_them(spoiled: Any) -> None:
    store, cell, others = spoiled
    findings: list[Finding] = []
    found = groups(store, Reflection, "ana", limit=10, findings=findings)
    [group] = [one for one in found if one.name == "s"]
    assert (group.newest, group.number) in ((others[-1].created_at, 6), (others[-1].created_at, 7))
    assert {*_named(findings)} <= {_key(cell)}


def test_where_no_caller_asks_the_log_names_the_row_once(spoiled: Any, caplog: pytest.LogCaptureFixture) -> None:
    store, cell, _ = spoiled
    list(store.walk(Reflection, page=2))
    [record] = [one for one in caplog.records if one.name == "orbsite.storage.records.unreadable"]
    assert f"reflections {json.dumps(_key(cell))}" in record.getMessage()
    assert SECRET not in caplog.text
