"""Two users with the same 1,000 ids: whatever is done to one leaves the other as it was, on every store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orbsite.models.ledger import Change
from orbsite.operations.files.export import document_of, export
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.migration.rollback import rollback
from orbsite.operations.migration.verify import verify
from orbsite.operations.records.delete import remove
from orbsite.operations.records.edit import edit
from orbsite.operations.records.erase import erase
from orbsite.operations.retention.apply import retain
from orbsite.operations.search_index import index
from orbsite.search.query import read
from orbsite.search.search import search
from orbsite.storage.base.snapshot import snapshots
from orbsite.storage.base.store import Store
from orbsite.storage.clock import utc_now
from orbsite.storage.file.content import entries
from orbsite.storage.file.store import FileStore
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.digest import digest
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import file_store
from te.domain import DOMAIN
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import BEGIN, ReflectionFactory

pytestmark = pytest.mark.django_db(databases="__all__")
MANY = 1000
STORES = ("memory", "file", "journal", "default", "postgresql")


def of(user: str, session: str = "shared") -> list[Reflection]:
    return [
        ReflectionFactory(
            id=f"r-{number:04}", user_id=user, session_id=session, input=f"word{user} {number}", created_at=BEGIN
        )
        for number in range(MANY)
    ]


def held(store: Store, user: str) -> dict[Any, Reflection]:
    return {one.key: one for one in store.find(Reflection, {"user_id": user})}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore(DOMAIN)
    if request.param in ("file", "journal"):
        return FileStore(
            DOMAIN,
            file_store(DOMAIN, tmp_path / "data")._document,
            journal_above=0 if request.param == "journal" else None,
        )
    return SqlStore(DOMAIN, "default" if request.param == "default" else request.getfixturevalue("postgresql_alias"))


@pytest.mark.slow
def test_they_are_kept_apart_by_every_verb(store: Store) -> None:
    ana, bo = of("ana"), of("bo")
    store.put([one for pair in zip(ana, bo, strict=True) for one in pair])
    theirs = {one.key: one for one in bo}
    assert (store.count(Reflection), held(store, "ana"), held(store, "bo")) == (
        2 * MANY, {one.key: one for one in ana}, theirs,
    )  # fmt: skip
    assert list(store.walk(Reflection)) == [*ana, *bo]
    pages: list[Reflection] = []
    while page := store.find(Reflection, {"session_id": "shared"}, limit=77, after=pages[-1].order if pages else None):
        pages += page
    assert [one.key for one in pages] == [
        one.key for pair in zip(reversed(bo), reversed(ana), strict=True) for one in pair
    ]
    store.put([msgspec.structs.replace(one, input="changed") for one in ana])
    assert held(store, "bo") == theirs
    assert store.delete(Reflection, [one.key for one in ana[:500]]) == 500
    assert held(store, "bo") == theirs
    assert store.delete_where(Reflection, {"user_id": "ana"}) == 500
    assert held(store, "bo") == theirs


@pytest.mark.slow
def test_an_export_of_one_tells_nothing_of_the_other_and_one_of_both_comes_back(store: Store, tmp_path: Path) -> None:
    ana, bo = of("ana"), of("bo")
    store.put([*ana, *bo])
    with snapshots([store], "ana") as (taken,):
        mine = document_of(taken)
    assert b"wordbo" not in mine
    assert b"wordana 999" in mine
    assert set(json.loads(mine)["userSessions"]) == {"ana"}
    export([store], tmp_path / "out")
    both = file_store(DOMAIN, tmp_path / "out")
    assert {one.key: one for one in both.walk(Reflection)} == {one.key: one for one in (*ana, *bo)}
    found = [entry.record for entry in entries(DOMAIN, both.snapshot() or b"") if entry.record]
    assert len({one.key for one in found}) == 2 * MANY


@pytest.mark.slow
def test_the_erasure_of_one_and_the_undo_of_a_compaction_leave_the_other(store: Store, tmp_path: Path) -> None:
    ana, bo = of("ana"), [msgspec.structs.replace(one, created_at=utc_now()) for one in of("bo")]
    store.put([*ana, *bo])
    theirs = held(store, "bo")
    if getattr(store, "using", "default") == "default":
        report = retain([store], Policy(max_age_days=90), now=utc_now, force=True)
        assert (held(store, "ana"), held(store, "bo")) == ({}, theirs)
        undo(str(report.run) if report.run else report.tombstones[0], [store], now=utc_now)
        assert held(store, "ana") == {one.key: one for one in ana}
        assert held(store, "bo") == theirs
    erase([store], "ana", base=tmp_path)
    assert (held(store, "ana"), held(store, "bo")) == ({}, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("session", ["shared", "own"])
def test_a_migration_its_verification_and_its_rollback_go_by_user_and_id(session: str, tmp_path: Path) -> None:
    ana, bo = of("ana", session), of("bo", "shared")
    target, source = SqlStore(DOMAIN), file_store(DOMAIN, tmp_path / "data")
    source.put([*ana, *bo])
    report = migrate([DOMAIN], tmp_path / "data", now=utc_now)
    assert report.domains["te"].counts["reflections"]["new"] == 2 * MANY
    assert {one.key: one for one in target.walk(Reflection)} == {one.key: one for one in (*ana, *bo)}
    assert verify([DOMAIN], tmp_path / "data").ok
    changed = [msgspec.structs.replace(one, input="other") for one in ana]
    source.put(changed)
    second = migrate([DOMAIN], tmp_path / "data", now=utc_now)
    counts = second.domains["te"].counts["reflections"]
    assert (counts["replaced"], counts["unchanged"]) == (MANY, MANY)
    assert {tuple(json.loads(key)) for key in Change.objects.values_list("key", flat=True)} == {one.key for one in ana}
    assert not verify([DOMAIN], tmp_path / "data").domains["te"].total("differ")
    rollback(second.run or 0, [DOMAIN], now=utc_now)
    assert held(target, "ana") == {one.key: one for one in ana}
    rollback(report.run or 0, [DOMAIN], now=utc_now)
    assert target.count(Reflection) == 0


def test_the_history_of_one_is_not_the_others(django_capture_on_commit_callbacks: Any) -> None:
    store, ana, bo = SqlStore(DOMAIN), of("ana"), of("bo")
    store.put([*ana, *bo])
    hand = Actor(actor="eve", at=utc_now())
    edit(store, msgspec.structs.replace(ana[0], notes="n"), hand=hand)
    edit(store, msgspec.structs.replace(bo[0], notes="n"), hand=hand)
    report = remove(store, Reflection, [one.key for one in ana], hand=hand)
    assert report.domains["te"].total("removed") == MANY
    assert len(held(store, "bo")) == MANY
    undo(str(report.run), [store], now=utc_now)
    assert len(held(store, "ana")) == MANY
    assert digest(held(store, "bo")[bo[1].key]) == digest(bo[1])


@pytest.mark.slow
@pytest.mark.parametrize("alias", ["default", "postgresql"])
@pytest.mark.parametrize("most", [0, 500])
def test_a_search_finds_each_users_own(
    alias: str, most: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbsite.search.search.NEWEST", most)
    name = "default" if alias == "default" else request.getfixturevalue("postgresql_alias")
    store = SqlStore(DOMAIN, name)
    store.put([*of("ana"), *of("bo")])
    index([DOMAIN], now=utc_now, using=name)
    store.put([msgspec.structs.replace(one, input="fresh") for one in of("ana")[-2:]])

    def found(text: str, **where: str) -> list[tuple[str, str]]:
        rows = ReflectionRow.objects.using(name).filter(**where)
        hits = rows.filter(search(rows, read(text)).condition).order_by("user_id", "id")
        return list(hits.values_list("user_id", "id"))

    assert len(found("wordbo")) == MANY
    assert found("wordbo", user_id="ana") == []
    assert found('"wordana 5"', user_id="ana") == [("ana", "r-0005")]
    assert found('"wordana 999"') == []  # its text is another since
    assert found('"wordbo 999"') == [("bo", "r-0999")]
    assert found("fresh") == ([("ana", "r-0998"), ("ana", "r-0999")] if most == 500 else [])
    store.delete(Reflection, [("ana", f"r-{number:04}") for number in range(MANY)])
    index([DOMAIN], now=utc_now, using=name)
    assert len(found("wordbo")) == MANY
    assert found("wordana") == []
