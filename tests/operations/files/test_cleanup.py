from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from luna.domain import DOMAIN as LUNA
from orbsite.operations.backup.create import backup
from orbsite.operations.files.cleanup import Times, cleanup
from orbsite.operations.report import Report
from orbsite.storage.errors import DocumentError, DocumentRefused, OrbError
from orbsite.storage.file.tombstones import Tombstones
from orbsite.stores import file_store
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support import worker
from tests.support.factories import ProfileFactory, ReflectionFactory
from tests.support.processes import ended
from tests.support.time_limits import time_limit

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LONG_AGO = NOW - 100 * DAY
TE_NAME, LUNA_NAME = TE.file.name, LUNA.file.name


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def age(path: Path, moment: datetime = LONG_AGO) -> Path:
    os.utime(path, ns=(ns(moment), ns(moment)), follow_symlinks=False)
    return path


def make(base: Path, name: str, moment: datetime = LONG_AGO, data: bytes = b"old") -> Path:
    path = base / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(data)
    return age(path, moment)


def ours(document: str, moment: datetime = LONG_AGO) -> list[str]:
    """Return a name of each kind that is left over beside a document."""
    folder, stamp, pid = document.partition("/")[0], ns(moment), dead_pid()
    name = document.partition("/")[2]
    return [
        f"{folder}/.{name}.{pid}.0123abcd.tmp",
        f"{folder}/.{name}.journal.{pid}.0123abcd.tmp",
        f"{folder}/{name}.conflict-{stamp}",
        f"{folder}/{name}.corrupt-{stamp}",
        *(f"{folder}/{name}.journal.{what}-{stamp}" for what in ("conflict", "adrift", "torn", "corrupt")),
        f"{folder}/lost+found/{stamp}.{name}.{pid}.0123abcd.tmp",
        f"{folder}/lost+found/{stamp}.{name}.by-another-program.tmp",
    ]


FOREIGN = [
    "events/log.jsonl", "events/te/reflections.json.conflict-1700000000000000000", "events/lost+found/x.tmp",
    "mav/actions.json", "mav/actions.json.conflict-1700000000000000000", "mav/.actions.json.1.0123abcd.tmp",
    "te/patterns.json", "te/insights.json", "te/actions.json",
]  # fmt: skip
UNKNOWN = [
    "notes.txt", "template/te.json", "lunar/luna.json", "private/data.json",
    "te/reflections.json.bak", "te/reflections.json~", "te/.reflections.json.swp", "te/reflections.json.conflict-",
    "te/reflections.json.conflict-12", "te/reflections.json.conflict-1700000000000000000.bak",
    "te/xreflections.json.conflict-1700000000000000000", "te/reflections_json.conflict-1700000000000000000",
    "te/.reflections.json.1.tmp", "te/.patterns.json.1.0123abcd.tmp", "te/patterns.json.conflict-1700000000000000000",
    "te/reflections.json.torn-1700000000000000000", "te/lost+found/mine.txt", "te/deeper/reflections.json",
    "luna/profiles.json.old", "luna/reflections.json", "luna/.profiles.json.lock.tmp", "luna/ü\n.json",
    ".orb/mine.json", ".orb/tombstones/mine.txt", ".orb/tombstones/.x.jsonl.tmp", ".hidden", "-rf", "*",
]  # fmt: skip


@pytest.fixture
def base(data_dir: Path) -> Path:
    file_store(TE, data_dir).put([ReflectionFactory(id="a"), ReflectionFactory(id="b")])
    file_store(TE, data_dir).put([ReflectionFactory(id="c")])  # leaves a .prev
    file_store(LUNA, data_dir).put([ProfileFactory()])
    return data_dir


def run(base: Path, *, now: datetime = NOW, grace: float = 7, apply: bool = True, **options: Any) -> Report:
    return cleanup([LUNA, TE], base, times=Times.of(now, grace, 30, options.pop("keep", None)), apply=apply, **options)


def removed(base: Path, report: Report) -> set[str]:
    return {str(path.relative_to(base)) for path in report.removed}


def tree(base: Path) -> dict[str, tuple[Any, ...]]:
    """Return everything there is: kind, mode, size, time, content or target."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(base.rglob("*")):
        status = path.lstat()
        content: Any = None
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.is_symlink():
            content = path.readlink()
        if not path.name.endswith(".lock"):  # says who holds it
            changed = 0 if path.is_dir() and not path.is_symlink() else status.st_mtime_ns
            found[str(path.relative_to(base))] = (status.st_mode, status.st_nlink if content else 0, changed, content)
    return found


@pytest.mark.parametrize("place", ["plain/data", "template/lunar", "te/luna"])
def test_our_leftovers_go_and_nothing_else_is_touched(tmp_path: Path, place: str) -> None:
    base = tmp_path / place
    base.parent.mkdir(parents=True)
    for domain, record in ((TE, ReflectionFactory(id="a")), (LUNA, ProfileFactory())):
        file_store(domain, base).put([record])
    for name in [*FOREIGN, *UNKNOWN]:
        make(base, name)
    before = tree(base)
    orphans = {*ours(str(TE.file)), *ours(str(LUNA.file))}
    for name in orphans:
        make(base, name)
    report = run(base)
    assert removed(base, report) == orphans
    after = {name: what for name, what in tree(base).items() if name not in ("luna/lost+found",)}
    assert after == before
    assert report.ok


def test_without_apply_it_is_told_and_nothing_is_written(base: Path) -> None:
    names = [*ours(str(TE.file)), *FOREIGN, *UNKNOWN]
    for name in names:
        make(base, name)
    before = {path: path.lstat().st_mtime_ns for path in base.rglob("*")}
    report = run(base, apply=False)
    assert {path: path.lstat().st_mtime_ns for path in base.rglob("*")} == before
    told = {one.path: one.message for one in report.domains["te"].findings}
    assert told.keys() == set(ours_of_dead(names))
    assert all("3 bytes; --apply would remove it" in message for message in told.values())
    assert report.removed == []


def ours_of_dead(names: list[str]) -> list[str]:
    return names[: -len(FOREIGN) - len(UNKNOWN)]


def test_unknown_files_are_listed_and_those_of_other_layers_are_not(base: Path) -> None:
    for name in [*FOREIGN, *UNKNOWN]:
        make(base, name)
    listed = {one.path for one in run(base).domains["unknown"].findings}
    top = {"notes.txt", "template", "lunar", "private", ".hidden", "-rf", "*"}
    inner = {
        name
        for name in UNKNOWN
        if name.startswith(("te/", "luna/", ".orb/")) and not name.endswith((".json", "\n.json"))
    }
    assert listed == top | inner | {"te/deeper", "luna/reflections.json", ".orb/mine.json", "luna/\\xfc\\n.json"} - {
        "te/deeper/reflections.json"
    }


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "te/reflections.json.bak",
        "luna/\\xfc\\n.json",
        ".orb/tombstones/mine.txt",
        "te/lost+found/mine.txt",
    ],
)
def test_an_unknown_file_goes_when_it_is_named(base: Path, name: str) -> None:
    for one in UNKNOWN:
        make(base, one)
    before = tree(base)
    report = run(base, unknown=[name])
    (gone,) = removed(base, report)
    assert before.keys() - tree(base).keys() == {gone}
    assert (
        run(base, apply=False).domains["unknown"].counts["files"]["unknown"]
        == report.domains["unknown"].counts["files"]["unknown"] - 1
    )


@pytest.mark.parametrize(
    "name",
    ["../outside.txt", "/etc/hostname", "te/../notes.txt", "./notes.txt", "te/reflections.json", "te/reflections.json.prev",
     "te/.reflections.json.lock", "te/patterns.json", "events/log.jsonl", "mav/actions.json", "events", "template",
     "template/te.json", "link", "te/link", "te/hard", "te/pipe", "", ".", "not there"],
)  # fmt: skip
def test_what_is_not_an_unknown_plain_file_cannot_be_named(base: Path, name: str) -> None:
    for one in [*FOREIGN, *UNKNOWN]:
        make(base, one)
    make(base.parent, "outside.txt")
    odd(base)
    make(base, f"te/{TE_NAME}.conflict-{ns(LONG_AGO)}")
    before = tree(base)
    with pytest.raises(OrbError, match=r"nothing was done"):
        run(base, unknown=["notes.txt", name])
    assert tree(base) == before
    assert (base.parent / "outside.txt").exists()


def odd(base: Path) -> None:
    (base / "link").symlink_to(base.parent / "outside.txt")
    (base / "te/link").symlink_to(base.parent / "outside.txt")
    make(base, "te/hard")
    os.link(base / "te/hard", base.parent / "another name")
    os.mkfifo(base / "te/pipe")


def test_links_pipes_and_sockets_with_our_names_are_left(base: Path) -> None:
    victim = make(base.parent, "victim.json")
    stamp = ns(LONG_AGO)
    (base / f"te/{TE_NAME}.conflict-{stamp}").symlink_to(victim)
    os.link(make(base, f"te/{TE_NAME}.corrupt-{stamp}"), base.parent / "another name")
    os.mkfifo(base / f"te/{TE_NAME}.journal.torn-{stamp}")
    (base / f"te/{TE_NAME}.journal.adrift-{stamp}").mkdir()
    for path in base.glob("te/*-[0-9]*"):
        age(path)
    (base / "luna/lost+found").symlink_to(base.parent)
    make(base.parent, f"{stamp}.{LUNA_NAME}.1.0123abcd.tmp")
    before = tree(base.parent)
    report = run(base)
    assert report.removed == []
    assert tree(base.parent) == before
    assert report.domains["unknown"].counts["files"]["unknown"] == 4


def test_a_directory_that_is_a_link_is_not_followed(base: Path, tmp_path: Path) -> None:
    shutil.move(base / "te", tmp_path / "elsewhere")
    for name in ours(str(TE.file)):
        make(tmp_path, name.replace("te/", "elsewhere/"))
    (base / "te").symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path)
    report = run(base)
    assert report.removed == []
    assert tree(tmp_path) == before
    assert "symbolic link" in report.domains["te"].findings[0].message


@pytest.mark.parametrize(
    ("moment", "stamped"), [(LONG_AGO, NOW - DAY), (NOW - DAY, LONG_AGO), (NOW + DAY, LONG_AGO), (LONG_AGO, NOW + DAY)]
)
def test_what_is_young_by_its_name_or_by_its_change_stays(base: Path, moment: datetime, stamped: datetime) -> None:
    names = [name for name in ours(str(TE.file), stamped) if str(ns(stamped)) in name]
    for name in names:
        make(base, name, moment)
    make(base, f"te/.{TE_NAME}.{dead_pid()}.0123abcd.tmp", max(moment, NOW - DAY))
    report = run(base)
    assert report.removed == []
    assert report.domains["te"].counts["files"]["younger"] == len(names) + 1
    assert removed(base, run(base, now=NOW + 9 * DAY)) >= set(names)


def test_a_clock_that_went_back_removes_nothing(base: Path) -> None:
    for name in ours(str(TE.file)):
        make(base, name)
    assert run(base, now=LONG_AGO - 365 * DAY).removed == []
    assert run(base, now=LONG_AGO + 6 * DAY).removed == []


def test_the_grace_is_exact(base: Path) -> None:
    make(base, f"te/{TE_NAME}.conflict-{ns(NOW - 7 * DAY)}", NOW - 7 * DAY)
    assert run(base).removed == []
    assert len(run(base, now=NOW + timedelta(seconds=1)).removed) == 1


@pytest.mark.parametrize("days", [-1, float("nan"), float("inf")])
def test_days_that_are_none_are_refused(days: float) -> None:
    with pytest.raises(OrbError, match="a number of days must be"):
        Times.of(NOW, days, 30, None)


def test_a_temporary_file_of_a_living_process_stays(base: Path) -> None:
    with worker.holding(base / "te") as (pid, _):
        kept = make(base, f"te/.{TE_NAME}.{pid}.0123abcd.tmp")
        assert run(base).removed == []
    assert run(base).removed == [kept]


@pytest.mark.parametrize("harm", ["missing", "torn", "journal"])
def test_nothing_beside_a_damaged_document_goes(base: Path, harm: str) -> None:
    for name in ours(str(TE.file)):
        make(base, name)
    path = base / TE.file
    if harm == "missing":
        path.unlink()
    elif harm == "torn":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        good = b'{"journal":"3f2a9c01","seq":0,"version":1,"base":"x","sum":"0"}\n'
        path.with_name(f"{TE_NAME}.journal").write_bytes(b"torn\n" + journal_line() + good)
    report = run(base)
    assert report.removed == []
    assert "a repair may need them" in report.domains["te"].findings[0].message


def journal_line() -> bytes:
    from orbsite.storage.file import journal
    from orbsite.storage.sealing.envelope import PLAIN

    return journal.closed(PLAIN, {"journal": "3f2a9c01", "seq": 1, "steps": []})


def test_tombstones_go_when_nothing_can_be_undone_any_more(base: Path) -> None:
    tombstones = Tombstones(base)
    old, young = NOW - 31 * DAY, NOW - 29 * DAY
    for name, moment in (
        ("17", old),
        ("18", young),
        (f"{old:%Y%m%dT%H%M%SZ}", old),
        (f"{young:%Y%m%dT%H%M%SZ}-2", old),
    ):
        age(tombstones.write(name, [{"domain": "te"}]), moment)
    make(base, f".orb/tombstones/.20250101T000000Z.jsonl.{dead_pid()}.0123abcd.tmp", NOW - 8 * DAY)
    report = run(base)
    assert tombstones.names() == ["18", f"{young:%Y%m%dT%H%M%SZ}-2"]
    assert len(report.removed) == 3


def test_two_runs_at_once_do_not_hurt_each_other(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(base, f"te/{TE_NAME}.conflict-{ns(LONG_AGO)}")
    from orbsite.storage.filesystem.syscalls import FileSystem

    real = FileSystem.lock

    def gone_first(self: FileSystem, descriptor: int) -> None:
        path.unlink(missing_ok=True)
        real(self, descriptor)

    monkeypatch.setattr(FileSystem, "lock", gone_first)
    report = run(base)
    assert (report.exit_code, report.removed) == (1, [])
    assert "changed meanwhile" in report.domains["te"].findings[0].message


def test_a_disk_that_refuses_is_told_and_the_rest_goes_on(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orbsite.storage.filesystem.syscalls import FileSystem

    names = ours(str(TE.file))
    for name in names:
        make(base, name)
    real = FileSystem.unlink

    def refuse(self: FileSystem, name: str, within: int) -> None:
        if "torn" in name:
            raise PermissionError(1, "Operation not permitted")
        real(self, name, within)

    monkeypatch.setattr(FileSystem, "unlink", refuse)
    report = run(base)
    assert (report.exit_code, len(report.removed)) == (1, len(names) - 1)
    assert any("Operation not permitted" in one.message for one in report.domains["te"].findings)


def test_only_the_domains_that_are_asked_for_are_cleaned(base: Path) -> None:
    for name in [*ours(str(TE.file)), *ours(str(LUNA.file))]:
        make(base, name)
    report = cleanup([LUNA], base, times=Times.of(NOW, 7, 30, None), apply=True)
    assert {path.parts[len(base.parts)] for path in report.removed} == {"luna"}
    assert report.domains["unknown"].counts["files"]["unknown"] == 0


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DocumentError):
        run(tmp_path / "nowhere")


@pytest.fixture
def backups(base: Path, tmp_path: Path) -> Path:
    path = tmp_path / "backups"
    for days in (100, 50, 40, 1):
        moment = NOW - days * DAY
        made = backup([TE], base, path, now=lambda moment=moment: moment, database=False).backup
        if made is not None:
            for file in (*made.iterdir(), made):
                age(file, moment)
    return path


def names(path: Path) -> set[str]:
    return {one.name for one in path.iterdir()}


def at(days: float) -> str:
    return f"{NOW - days * DAY:%Y%m%dT%H%M%SZ}"


def test_backups_expire_where_that_is_asked_for(base: Path, backups: Path) -> None:
    before = names(backups)
    assert run(base, backups=backups).removed == []
    assert run(base, backups=backups, keep=45, apply=False).removed == []
    assert names(backups) == before
    report = run(base, backups=backups, keep=45)
    assert names(backups) == {at(40), at(1)}
    assert report.removed == [backups / at(100), backups / at(50)]


def test_the_newest_backup_that_is_whole_never_goes(base: Path, backups: Path) -> None:
    damaged = backups / at(1) / "te.json"
    damaged.write_bytes(b"{}")
    age(damaged, NOW - DAY)
    run(base, now=NOW + 1000 * DAY, backups=backups, keep=0)
    assert names(backups) == {at(40)}
    run(base, now=NOW + 1000 * DAY, backups=backups, keep=0)
    assert names(backups) == {at(40)}


def test_where_no_backup_is_whole_none_goes(base: Path, backups: Path) -> None:
    for file in backups.glob("*/te.json"):
        file.write_bytes(b"{}")
    assert run(base, now=NOW + 1000 * DAY, backups=backups, keep=0).removed == []


def test_what_else_lies_among_backups_stays(base: Path, backups: Path) -> None:
    untracked = [
        "notes.txt",
        "20200101T000000Z.txt",
        "20200101T000000Z",
        "20200102T000000Z-x/x",
        ".backup.tmp/x",
        "2020/x",
    ]
    for name in untracked:
        make(backups, name)
    (backups / at(100) / "deep").mkdir()
    age(make(backups, f"{at(50)}/mine.txt").parent)
    (backups / "20190101T000000Z").symlink_to(backups / at(40))
    run(base, now=NOW + 365 * DAY, backups=backups, keep=30)
    assert names(backups) == {name.partition("/")[0] for name in untracked} | {
        at(100),
        at(50),
        "20190101T000000Z",
        at(1),
    }


def test_what_a_killed_backup_left_goes_and_one_under_way_stays(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "backups"
    dead, young, alive = (
        f".backup.{pid}.0123abc{n}.tmp" for n, pid in enumerate((dead_pid(), dead_pid(), os.getpid()))
    )
    for name in (dead, young, alive):
        for file in ("te.json", ".manifest.json.7.0123abcd.tmp", "database.sqlite3"):
            make(path, f"{name}/{file}", NOW - DAY if (name, file) == (young, "te.json") else LONG_AGO)
        age(path / name)
    run(base, backups=path)
    assert names(path) == {young, alive}


def test_a_removal_that_is_killed_leaves_no_half_backup(
    base: Path, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orbsite.storage.filesystem.syscalls import FileSystem

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FileSystem, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            run(base, backups=backups, keep=45)
    (half,) = names(backups) - {at(50), at(40), at(1)}
    assert half.startswith(".backup.")
    (backups / half).rename(backups / f".backup.{dead_pid()}.0123abcd.tmp")
    for one in backups.glob(".backup*"):
        age(one)
    run(base, backups=backups, keep=45)
    assert names(backups) == {at(40), at(1)}


@pytest.mark.slow
def test_clean_up_beside_saves_loses_nothing(data_dir: Path) -> None:
    """Saves of two processes, and clean-up without any grace all the while."""
    total = int(os.environ.get("ORB_SAVES", "60"))
    file_store(TE, data_dir).put([ReflectionFactory(id="counter", input="0")])
    workers = [
        worker.start("count", data_dir, name, total, "", journal=mode) for name, mode in (("x", "never"), ("y", "0"))
    ]
    runs = 0
    with ended(*workers):
        while any(process.poll() is None for process in workers):
            report = run(data_dir, now=datetime.now(UTC) + DAY, grace=0)
            assert report.ok, report
            assert not [path for path in report.removed if ".conflict" in path.name]
            runs += 1
        for process in workers:
            _, problems = process.communicate(timeout=time_limit(10))
            assert process.returncode == 0, problems
    there = {one.id: one for one in file_store(TE, data_dir).find(Reflection)}
    assert there.keys() == {"counter", *(f"{name}-{number}" for name in "xy" for number in range(total // 2))}
    assert there["counter"].input == str(total)
    assert runs > 3


def test_the_report_is_json(base: Path) -> None:
    make(base, f"te/{TE_NAME}.conflict-{ns(LONG_AGO)}")
    printed = json.loads(json.dumps(run(base).as_json()))
    assert printed["removed"] == [str(base / f"te/{TE_NAME}.conflict-{ns(LONG_AGO)}")]
    assert printed["domains"]["te"]["bytes"] == 3


def test_a_place_that_lets_nothing_be_removed_is_not_ok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file_store(TE, tmp_path).put([ReflectionFactory()])
    left = make(tmp_path, f"te/{TE_NAME}.conflict-{ns(LONG_AGO)}")

    def refuse(*_: Any, **__: Any) -> Any:
        raise DocumentRefused("the lock cannot be opened: Read-only file system")

    monkeypatch.setattr("orbsite.storage.file.document.Document.writing", refuse)
    times = Times.of(NOW, 7, 30, None)
    report = cleanup([TE], tmp_path, times=times, apply=True)
    assert (report.ok, report.exit_code, left.exists()) == (False, 1, True)
    assert any("nothing was removed: the lock" in one.message for one in report.domains["te"].findings)
    assert cleanup([TE], tmp_path, times=times, apply=False).ok
