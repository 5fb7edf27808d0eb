from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from luna.domain import DOMAIN as LUNA
from orbsite.operations.files.compact import compact
from orbsite.operations.report import Report
from orbsite.storage.errors import DocumentCorrupt, DocumentError, TooMuch
from orbsite.storage.file.compaction import compacted
from orbsite.storage.file.content import Content
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.tombstones import Tombstones
from orbsite.storage.filesystem.syscalls import FileSystem
from orbsite.storage.records.domain import Domain
from orbsite.stores import file_store
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.effort import effort
from tests.support.factories import ReflectionFactory

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAME = "20260102T030405Z"


def profile(user: str, mode: str, **fields: Any) -> dict[str, Any]:
    usual = {"userId": user, "modeId": mode, "preferences": [], "constraints": []}
    return usual | {"updatedAt": "2024-01-01T00:00:00.000Z"} | fields


def item(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "input": "i", "output": "o", "tags": [], "createdAt": "2024-01-01T00:00:00.000Z"} | fields


def write(base: Path, domain: Domain, value: Any) -> bytes:
    path = base / domain.file
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
    return path.read_bytes()


def read(base: Path, domain: Domain) -> Any:
    return json.loads((base / domain.file).read_bytes())


def run(base: Path, *domains: Domain, **options: Any) -> Report:
    return compact(list(domains), base, now=lambda: NOW, **options)


def paths(report: Report, domain: Domain) -> set[str]:
    return {one.path for one in report.domains[domain.name].findings}


LUNA_DEAD = {
    "ana": {
        "activeMode": "mars",
        "profiles": {"mars": profile("ana", "mars"), "old": profile("ana", "old", updatedAt=7)},
    },
    "bob": {"profiles": {}},
    "cleo": {"theme": "dark", "profiles": {}},
    "dan": {"activeMode": None},
    "eve": {"activeMode": "mars", "profiles": {}},
    "finn": {"theme": "dark", "profiles": {"mars": profile("finn", "mars", score=1.5)}},
    "gil": 7,
    "hal": {"profiles": {"x": profile("somebody", "x")}},
    **{f"user-{n}": {"profiles": {"mars": profile(f"user-{n}", "mars")}} for n in range(20)},
}
TE_DEAD = {
    "sessions": {
        "one": [item("a"), item("b", createdAt="yesterday"), item("c"), item("a", input="other"), item("c")],
        "two": [],
        "three": [item("d", tags="none")],
        "many": [item(f"m-{n}") for n in range(20)],
    },
    "userSessions": {
        "ana": ["one", "gone", "two"],
        "bob": ["three"],
        "cleo": [],
        "dan": ["many", "many"],
        "eve": "one",
        "": ["one"],
    },
    "later": {"version": 2},
}


def test_what_is_dead_goes_from_profiles_and_everything_else_stays(data_dir: Path) -> None:
    write(data_dir, LUNA, LUNA_DEAD)
    report = run(data_dir, LUNA)
    assert paths(report, LUNA) == {
        "$.ana.profiles.old", "$.bob", "$.cleo", "$.dan", "$.gil", "$.hal.profiles.x", "$.hal",
    }  # fmt: skip
    wanted = {user: part for user, part in LUNA_DEAD.items() if user not in ("bob", "cleo", "dan", "gil", "hal")}
    wanted["ana"] = {"activeMode": "mars", "profiles": {"mars": profile("ana", "mars")}}
    assert read(data_dir, LUNA) == wanted
    section = report.domains["luna"]
    assert dict(section.counts["profiles"]) == {"kept": 22, "removed": 3}
    assert section.facts["dead_parts"] == 4
    assert section.facts["after"] == (data_dir / LUNA.file).stat().st_size < section.facts["before"]


def test_what_is_dead_goes_from_reflections_and_the_index_says_what_is_there(data_dir: Path) -> None:
    write(data_dir, TE, TE_DEAD)
    report = run(data_dir, TE)
    assert read(data_dir, TE) == {
        "sessions": {"one": [item("a"), item("c"), item("c")], "many": TE_DEAD["sessions"]["many"]},
        "userSessions": {"ana": ["one"], "dan": ["many", "many"]},
        "later": {"version": 2},
    }
    assert dict(report.domains["te"].counts["reflections"]) == {"kept": 22, "removed": 3}
    assert paths(report, TE) == {
        "$.sessions.one[1]", "$.sessions.one[3]", "$.sessions.three[0]", "$.sessions.two", "$.sessions.three",
        "$.userSessions.ana", "$.userSessions.bob", "$.userSessions.cleo", "$.userSessions.eve", '$.userSessions[""]',
    }  # fmt: skip


def test_what_goes_is_kept_first_with_its_reason_and_its_bytes(data_dir: Path) -> None:
    write(data_dir, TE, TE_DEAD)
    report = run(data_dir, TE)
    assert report.tombstones == [NAME]
    lines = {line["path"]: line for line in Tombstones(data_dir).read(NAME)}
    assert lines.keys() == paths(report, TE)
    assert json.loads(lines["$.sessions.one[1]"]["original"]) == item("b", createdAt="yesterday")
    assert "createdAt" in lines["$.sessions.one[1]"]["reason"]
    assert lines["$.sessions.one[1]"]["position"] == 1
    assert "taken by another record" in lines["$.sessions.one[3]"]["reason"]
    assert json.loads(lines["$.userSessions.ana"]["original"]) == ["gone", "two"]


def test_a_dry_run_tells_the_same_and_writes_nothing(data_dir: Path) -> None:
    for domain, value in ((LUNA, LUNA_DEAD), (TE, TE_DEAD)):
        write(data_dir, domain, value)
    before = {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}
    told = run(data_dir, LUNA, TE, dry_run=True)
    assert {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()} == before
    done = run(data_dir, LUNA, TE)
    for domain in (LUNA, TE):
        assert paths(told, domain) == paths(done, domain)
        assert told.domains[domain.name].counts == done.domains[domain.name].counts
        assert told.domains[domain.name].facts == done.domains[domain.name].facts
    assert done.tombstones == [NAME, f"{NAME}-2"]
    assert not told.tombstones


def test_a_sound_file_is_left_as_it_is_whatever_its_spelling(data_dir: Path) -> None:
    path = data_dir / TE.file
    path.parent.mkdir(mode=0o700)
    path.write_text(json.dumps({"sessions": {"s": [item("a")]}, "userSessions": {"ana": ["s"]}}))
    before = path.read_bytes(), path.stat().st_mtime_ns
    run(data_dir, TE)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert not (data_dir / ".orb/tombstones").exists()


def test_items_of_the_journal_are_compacted_with_the_rest(data_dir: Path) -> None:
    write(data_dir, TE, TE_DEAD)
    store = FileStore(TE, file_store(TE, data_dir)._document, journal_above=0)
    store.put([ReflectionFactory(id="late", session_id="two", user_id="ana")])
    assert (data_dir / f"{TE.file}.journal").exists()
    run(data_dir, TE)
    assert [one["id"] for one in read(data_dir, TE)["sessions"]["two"]] == ["late"]
    assert read(data_dir, TE)["userSessions"]["ana"] == ["one", "two"]
    assert not (data_dir / f"{TE.file}.journal").exists()


def test_more_than_a_fifth_needs_force_and_then_no_file_is_touched(data_dir: Path) -> None:
    write(data_dir, LUNA, {**LUNA_DEAD, "bob": {}})
    wrong = write(data_dir, TE, {"sessions": {"s": [item("a"), item("b", tags=1)]}, "userSessions": {"ana": ["s"]}})
    before = (data_dir / LUNA.file).read_bytes()
    with pytest.raises(TooMuch, match="1 of 2 items of te/reflections.json"):
        run(data_dir, LUNA, TE)
    assert (data_dir / LUNA.file).read_bytes() == before
    assert (data_dir / TE.file).read_bytes() == wrong
    assert run(data_dir, LUNA, TE, dry_run=True).domains["te"].counts["reflections"]["removed"] == 1
    assert run(data_dir, LUNA, TE, force=True).domains["te"].counts["reflections"]["removed"] == 1


def test_a_file_that_cannot_be_read_is_an_error_and_stays(data_dir: Path) -> None:
    path = data_dir / TE.file
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b'{"sessions"')
    with pytest.raises(DocumentCorrupt, match="te/reflections.json"):
        run(data_dir, TE)
    assert path.read_bytes() == b'{"sessions"'


def test_without_a_file_there_is_nothing_to_do(data_dir: Path) -> None:
    report = run(data_dir, LUNA, TE)
    assert report.ok
    assert not list(data_dir.iterdir())
    with pytest.raises(DocumentError):
        run(data_dir / "elsewhere", TE)


IDS = st.sampled_from(["a", "b", "c", "1", "__proto__", ""])
ODD = st.sampled_from([None, 7, "text", [], {}, {"k": []}])
TIMES = st.sampled_from(["2024-01-01T00:00:00.000Z", "2024-01-01T00:00:00+02:00", "2024-01-01", "soon", 5])
ITEMS = st.one_of(
    ODD,
    st.builds(item, IDS, createdAt=TIMES, tags=st.sampled_from([[], ["t"], "t"])),
    st.builds(item, IDS, userId=IDS, score=st.integers(0, 9)),
)
SOUND = st.builds(item, st.sampled_from("abcdefgh"))
LISTED = st.lists(st.sampled_from("abc1"), min_size=1, max_size=4)
DOCUMENTS_OF_TE = st.fixed_dictionaries(
    {
        "sessions": st.dictionaries(
            IDS, st.one_of(ODD, st.lists(ITEMS, max_size=5), st.lists(st.one_of(SOUND, ITEMS), min_size=1)), max_size=5
        ),
        "userSessions": st.dictionaries(
            IDS, st.one_of(ODD, LISTED, LISTED, st.lists(st.one_of(IDS, ODD), max_size=4)), max_size=5
        ),
    },
    optional={"later": ODD},
)
PROFILES = st.dictionaries(
    IDS, st.one_of(ODD, st.builds(profile, IDS, IDS, updatedAt=TIMES), st.builds(profile, IDS, IDS, x=ODD)), max_size=4
)
USERS = st.fixed_dictionaries(
    {}, optional={"activeMode": st.one_of(IDS, ODD), "profiles": st.one_of(PROFILES, ODD), "x": ODD}
)
DOCUMENTS_OF_LUNA = st.dictionaries(IDS, st.one_of(USERS, ODD), max_size=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("domain", "documents"), [(LUNA, DOCUMENTS_OF_LUNA), (TE, DOCUMENTS_OF_TE)], ids=["luna", "te"]
)
@pytest.mark.deep
def test_compaction_never_changes_what_validation_accepts(domain: Domain, documents: Any) -> None:
    seen = {"dead": 0, "kept": 0, "owned": 0}

    @hypothesis_settings(max_examples=effort(300, 1500))
    @given(documents)
    def check(value: Any) -> None:
        if domain is LUNA:  # a profile that says where it stands
            value = settled(value)
        data = json.dumps(value).encode()
        found = compacted(domain, data)
        before, after = Content(domain, data), Content(domain, found.content.encode())
        for kind in domain.kinds:
            keys = before.view.keys(kind)
            assert list(after.view.fetch(kind, after.view.keys(kind)).values()) == list(
                before.view.fetch(kind, keys).values()
            )
        assert_still_listed(value, json.loads(after.encode())) if domain is TE else None
        again = compacted(domain, after.encode())
        assert (again.dead, after.refused) == ([], 0)
        seen["dead"] += bool(found.dead)
        seen["kept"] += bool(sum(found.kept.values()))
        seen["owned"] += any(one.owner in "abc1" for kind in domain.kinds for one in before.view.find(kind))

    check()
    assert min(seen.values()) > effort(50, 300), seen


def assert_still_listed(before: Any, after: Any) -> None:
    for user, listed in before["userSessions"].items():
        wanted = (
            [name for name in listed if isinstance(name, str) and name in after["sessions"]]
            if isinstance(listed, list)
            else []
        )
        assert after["userSessions"].get(user, []) == (wanted if user else [])


def settled(users: Any) -> Any:
    """Have half of the profiles, as many as have a mode of their own, say where they stand."""
    for user, part in users.items():
        modes = part.get("profiles") if isinstance(part, dict) else None
        for mode, one in modes.items() if isinstance(modes, dict) else ():
            if isinstance(one, dict) and "userId" in one and mode != "b":
                one.update(userId=user, modeId=mode)
    return users


CALLS = ("create", "write", "sync", "rename", "rename_to_free", "exchange", "unlink", "close", "make_directory")


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Do it in a fork that kills itself with -9 before such a system call; tell whether it came that far."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    count = iter(range(number + 1))
    for name in CALLS:
        real = getattr(FileSystem, name)

        def counted(*arguments: Any, real: Any = real) -> Any:
            if next(count, None) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments)

        setattr(FileSystem, name, counted)
    try:
        act()
    finally:
        os._exit(0)


def lost(base: Path) -> list[str]:
    """Return what of the reflections is neither in the document nor in a tombstone file."""
    there = {one["id"] for one in TE_DEAD["sessions"]["one"]} | {"d"} | {f"m-{n}" for n in range(20)}
    found = {one["id"] for items in read(base, TE)["sessions"].values() for one in items}
    tombstones = Tombstones(base)
    for name in tombstones.names():
        found |= {
            json.loads(line["original"])["id"]
            for line in tombstones.read(name)
            if ".sessions.o" in line["path"] or line["path"].endswith("[0]")
        }
    return sorted(there - found)


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    for number in range(200):
        base = tmp_path / str(number)
        write(base, TE, TE_DEAD)
        was_killed = killed_at(number, lambda base=base: run(base, TE))
        assert lost(base) == []
        assert {one.id for one in file_store(TE, base).find(Reflection)} == {"a", "c", *(f"m-{n}" for n in range(20))}
        run(base, TE)
        assert read(base, TE)["userSessions"] == {"ana": ["one"], "dan": ["many", "many"]}
        if not was_killed:
            assert number > 15
            return
        shutil.rmtree(base)
    raise AssertionError("it never came to its end")


def test_the_test_of_kills_has_teeth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbsite.operations.files.compact._TombstoneWriter.write_tombstones", lambda *_: None)
    write(tmp_path, TE, TE_DEAD)
    run(tmp_path, TE)
    assert lost(tmp_path) == ["b", "d"]


@pytest.mark.parametrize("change", ["flip", "cut a line", "cut a byte", "cut all"])
def test_a_damaged_tombstone_file_is_told_and_never_read_in_part(data_dir: Path, change: str) -> None:
    write(data_dir, TE, TE_DEAD)
    run(data_dir, TE)
    path = data_dir / f".orb/tombstones/{NAME}.jsonl"
    data = bytearray(path.read_bytes())
    at = random.Random(3).randrange(len(data) // 4, len(data) // 2)
    if change == "flip":
        data[at] ^= 1
    else:
        del data[{"cut a line": data[:-1].rindex(b"\n") + 1, "cut a byte": len(data) - 1, "cut all": 0}[change] :]
    path.write_bytes(data)
    with pytest.raises(DocumentCorrupt, match="damaged"):
        Tombstones(data_dir).read(NAME)


@pytest.mark.parametrize("name", ["../x", ".x", "a/b", "", "x\n"])
def test_a_tombstone_file_is_named_and_never_a_path(data_dir: Path, name: str) -> None:
    with pytest.raises(DocumentError, match="not a tombstone file"):
        Tombstones(data_dir).read(name)


def test_tombstones_are_private_and_never_take_each_other_s_name(data_dir: Path) -> None:
    tombstones = Tombstones(data_dir)
    written = [tombstones.write("x", [{"domain": "te", "number": number}]) for number in range(3)]
    assert [path.name for path in written] == ["x.jsonl", "x-2.jsonl", "x-3.jsonl"]
    assert [next(tombstones.read(name))["number"] for name in ("x", "x-2", "x-3")] == [0, 1, 2]
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (written[0].parent, written[0].parent.parent)} == {0o700}


def test_a_tombstone_file_that_could_not_be_written_leaves_nothing(data_dir: Path) -> None:
    def lines() -> Any:
        yield {"domain": "te"}
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        Tombstones(data_dir).write("x", lines())
    assert list((data_dir / ".orb/tombstones").iterdir()) == []
