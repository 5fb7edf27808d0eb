from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode, Profile
from orbsite.operations.migration.loader import Loader
from orbsite.operations.report import Section
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.file.content import entries
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain, Entry
from orbsite.storage.records.record import Record
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.mav.domain import DOMAIN as MAV
from tests.mav.records import Action
from tests.support.factories import ActionFactory, ActiveModeFactory, ProfileFactory, ReflectionFactory
from tests.support.suites import naughty_strings

COUNTED = ("read", "new", "unchanged", "replaced", "kept", "rejected")


def moved(source: Any, target: MemoryStore, run: int | None = 1) -> tuple[dict[str, int], list[str]]:
    section = Section()
    Loader(target, run, section).all(source)
    counts = {what: section.total(what) for what in COUNTED if section.total(what)}
    assert section.total("read") == sum(section.total(what) for what in COUNTED[1:])
    return counts, [finding.message for finding in section.findings]


def entries_of(*records: Record) -> list[Entry]:
    return [Entry(place=(number,), record=record, kind=type(record)) for number, record in enumerate(records)]


def document(domain: Domain, tree: Any) -> Any:
    return entries(domain, stringify(tree))


def test_a_newer_profile_replaces_and_an_older_one_is_kept_out() -> None:
    target, profile = MemoryStore(LUNA), ProfileFactory()
    target.put([profile])
    hour = timedelta(hours=1)
    older = msgspec.structs.replace(profile, preferences=(), updated_at=profile.updated_at - hour)
    assert moved(entries_of(older), target) == ({"read": 1, "kept": 1}, ["the row in SQL is newer; it was kept"])
    assert list(target.walk(Profile)) == [profile]
    newer = msgspec.structs.replace(profile, preferences=(), updated_at=profile.updated_at + hour)
    assert moved(entries_of(newer), target) == ({"read": 1, "replaced": 1}, [])
    assert list(target.walk(Profile)) == [newer]


def test_a_profile_that_differs_at_the_same_time_is_kept_with_a_warning() -> None:
    target, profile = MemoryStore(LUNA), ProfileFactory()
    moved(entries_of(profile), target)
    counts, messages = moved(entries_of(msgspec.structs.replace(profile, preferences=())), target)
    assert counts == {"read": 1, "kept": 1}
    assert messages == ["the row in SQL differs and has the same time; it was kept"]


@pytest.mark.parametrize("make", [ReflectionFactory, ActiveModeFactory])
def test_what_has_no_version_is_replaced_only_as_a_run_left_it(make: Any) -> None:
    record = make()
    target = MemoryStore(TE if isinstance(record, Reflection) else LUNA)
    witness = "input" if isinstance(record, Reflection) else "mode_id"
    first, second, third = (msgspec.structs.replace(record, **{witness: text}) for text in ("one", "two", "three"))
    assert moved(entries_of(first), target)[0] == {"read": 1, "new": 1}
    assert moved(entries_of(second), target)[0] == {"read": 1, "replaced": 1}
    target.put([third])
    assert moved(entries_of(second), target)[0] == {"read": 1, "kept": 1}
    assert target.fetch(type(record), [record.key]) == {record.key: third}


def test_the_time_of_an_active_mode_does_not_count() -> None:
    target, active = MemoryStore(LUNA), ActiveModeFactory(updated_at=ProfileFactory().updated_at)
    target.put([active])
    assert moved(entries_of(msgspec.structs.replace(active, updated_at=None)), target)[0] == {"read": 1, "unchanged": 1}
    assert list(target.walk(ActiveMode)) == [active]


def test_without_a_run_nothing_is_written() -> None:
    target = MemoryStore(TE)
    assert moved(entries_of(ReflectionFactory()), target, run=None)[0] == {"read": 1, "new": 1}
    assert target.count(Reflection) == 0


def test_an_id_that_another_user_has_too_is_another_record() -> None:
    target, held = MemoryStore(TE), ReflectionFactory(user_id="bo")
    target.put([held])
    mine = msgspec.structs.replace(held, user_id="ana", input="mine")
    assert moved(entries_of(mine), target) == ({"read": 1, "new": 1}, [])
    assert list(target.walk(Reflection)) == [mine, held]


def test_a_key_without_the_user_that_another_user_has_is_rejected() -> None:
    target, held = MemoryStore(MAV), ActionFactory(user_id="bo")
    target.put([held])
    counts, messages = moved(entries_of(msgspec.structs.replace(held, user_id="ana")), target)
    assert (counts, messages) == ({"read": 1, "rejected": 1}, ["its key belongs to another user in SQL"])
    assert list(target.walk(Action)) == [held]


def _item(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "input": "i", "output": "o", "tags": [], "createdAt": "2024-01-01T00:00:00.000Z", **more}


def test_an_item_without_an_owner_keeps_the_one_that_sql_knows_among_those_listed() -> None:
    tree = {"sessions": {"s": [_item("x")]}, "userSessions": {"ana": ["s"], "bo": ["s"]}}
    target = MemoryStore(TE)
    target.put([ReflectionFactory(id="x", user_id="bo", session_id="s", input="before")])
    assert moved(document(TE, tree), target)[0] == {"read": 1, "kept": 1}
    target = MemoryStore(TE)
    moved(document(TE, tree | {"userSessions": {"bo": ["s"]}}), target)
    assert moved(document(TE, tree), target)[0] == {"read": 1, "unchanged": 1}
    assert [one.user_id for one in target.walk(Reflection)] == ["bo"]


def test_the_same_id_twice_counts_once_and_a_copy_that_differs_is_rejected() -> None:
    tree = {
        "sessions": {"a": [_item("x"), _item("x"), _item("y")], "b": [_item("x")]},
        "userSessions": {"ana": ["a", "b"]},
    }
    target = MemoryStore(TE)
    for outcome in ("new", "unchanged"):
        counts, messages = moved(document(TE, tree), target)
        assert counts == {"read": 4, "rejected": 1} | (
            {"new": 2, "unchanged": 1} if outcome == "new" else {"unchanged": 3}
        )
        assert "an equal copy of $.sessions.a[0]; the first one counts" in messages
        assert "its key is taken by another record at $.sessions.a[0], and the first one counts" in messages
    assert target.count(Reflection) == 2


def test_a_batch_is_all_or_nothing() -> None:
    class Failing(MemoryStore):
        def insert(self, batch: Any, places: Any, run: int) -> None:
            super().insert(batch, places, run)
            raise OSError("no space")

    target = Failing(TE)
    with pytest.raises(OSError, match="no space"):
        moved(entries_of(ReflectionFactory()), target)
    assert target.count(Reflection) == 0


@pytest.mark.django_db
def test_the_hostile_strings_go_through_as_texts_and_as_ids(data_dir: Path) -> None:
    from orbsite.stores import open_file_store, open_sql_store

    strings = [text for text in dict.fromkeys(naughty_strings()) if text]
    records = [
        ReflectionFactory(
            id=text[:255], user_id=f"u{number}", session_id=text[:255], input=text, tags=(text,), notes=text
        )
        for number, text in enumerate(strings)
    ]
    store = open_file_store(TE, data_dir)
    store.put(records)
    target = open_sql_store(TE)
    section = Section()
    Loader(target, 1, section).all(entries(TE, (data_dir / TE.file).read_bytes()))
    assert section.total("new") == len(records) > 500
    assert sorted(map(digest, target.walk(Reflection))) == sorted(map(digest, records))
