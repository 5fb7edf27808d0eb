from __future__ import annotations

import errno
import json
import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from orbsite.storage.errors import DocumentCorrupt, DocumentRefused, LockTimeout, SaveFailed, SaveOutcomeUnknown
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.lock import locked
from orbsite.storage.filesystem.syscalls import FileSystem
from te.domain import DOMAIN as TE
from te.records import Reflection
from te.reflection_log import ReflectionLog
from tests.support.factories import ReflectionFactory, moment
from tests.support.processes import ended
from tests.support.time_limits import time_limit


def open_store(base: Path) -> FileStore:
    return FileStore(TE, Document(base, TE.file))


def _reflection(name: str) -> Reflection:
    return Reflection(id=name, input="i", output="o", tags=(), created_at=moment(0))


def _save(base: Path, names: list[str]) -> None:
    log = ReflectionLog(open_store(base))
    for name in names:
        log.save_reflection(_reflection(name), "ana", "shared")


def _worker(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.support.worker", *map(str, arguments)]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3], env=environment)


@pytest.mark.slow
def test_fifty_concurrent_saves_of_eight_processes_are_all_kept(tmp_path: Path) -> None:
    names = [f"r{number}" for number in range(50)]
    processes = [_worker("save", tmp_path / "data", *names[start::8]) for start in range(8)]
    with ended(*processes):
        for process in processes:
            process.communicate(timeout=time_limit(60))
    assert [process.returncode for process in processes] == [0] * 8
    assert {one.id for one in ReflectionLog(open_store(tmp_path / "data")).get_reflections("ana", limit=None)} == set(
        names
    )


def test_concurrent_saves_of_threads_are_all_kept(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=_save, args=(tmp_path / "data", [f"{start}-{n}" for n in range(5)]))
        for start in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(time_limit(60))
    assert open_store(tmp_path / "data").count(Reflection) == 40


@pytest.mark.slow
@pytest.mark.parametrize("torn", [b"", b'{"sessions": {"a": [{"id": "x"', b"\x00" * 100])
def test_a_torn_file_is_an_error_for_every_verb_and_its_bytes_stay(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "te/reflections.json"
    path.parent.mkdir()
    path.write_bytes(torn)
    store, record = open_store(tmp_path), ReflectionFactory()
    calls: list[Any] = [
        lambda: store.put([record]),
        lambda: store.add(record),
        lambda: store.delete(Reflection, [record.key]),
        lambda: store.delete_where(Reflection, {"user_id": "ana"}),
        lambda: store.fetch(Reflection, [record.key]),
        lambda: store.find(Reflection),
        lambda: list(store.walk(Reflection)),
        lambda: store.count(Reflection),
    ]
    for call in calls:
        with pytest.raises(DocumentCorrupt, match="run validate_orb_files") as caught:
            call()
        assert str(path) in str(caught.value)
    assert path.read_bytes() == torn


def test_reading_creates_nothing(tmp_path: Path) -> None:
    assert open_store(tmp_path / "data").find(Reflection) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_files_and_directories_are_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        open_store(tmp_path / "data").put([ReflectionFactory()])
    finally:
        os.umask(before)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    }
    assert modes == {"data": 0o700, "te": 0o700, "reflections.json": 0o600, ".reflections.json.lock": 0o600}


def test_a_directory_open_to_others_is_narrowed_or_refused(tmp_path: Path) -> None:
    base = tmp_path / "data"
    base.mkdir()
    base.chmod(0o755)
    open_store(base).put([ReflectionFactory()])
    assert stat.S_IMODE(base.stat().st_mode) == 0o700
    base.chmod(0o777)
    with pytest.raises(DocumentRefused, match="chmod go-w"):
        open_store(base).put([ReflectionFactory()])
    assert open_store(base).count(Reflection) == 1


def test_an_unchanged_document_is_not_written_again(tmp_path: Path) -> None:
    store, record = open_store(tmp_path), ReflectionFactory()
    store.put([record])
    before = (tmp_path / "te/reflections.json").stat().st_ino
    store.add(record)
    store.delete(Reflection, [("ana", "missing")])
    assert (tmp_path / "te/reflections.json").stat().st_ino == before


def test_a_save_that_fails_leaves_the_old_content_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    store.put([ReflectionFactory()])
    before = (tmp_path / "te/reflections.json").read_bytes()
    for name in ("write", "status", "sync", "exchange"):
        with monkeypatch.context() as patch:
            patch.setattr(FileSystem, name, _fail_on_files(getattr(FileSystem, name)))
            with pytest.raises(SaveFailed, match="is unchanged"):
                store.put([ReflectionFactory()])
        assert (tmp_path / "te/reflections.json").read_bytes() == before
        assert sorted(path.name for path in (tmp_path / "te").iterdir()) == [
            ".reflections.json.lock",
            "reflections.json",
        ]


def test_a_directory_that_cannot_be_synced_leaves_the_outcome_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path)
    store.put([ReflectionFactory()])
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: _fail() if stat.S_ISDIR(os.fstat(fd).st_mode) else sync(fd))
    with pytest.raises(SaveOutcomeUnknown, match="read the file again"):
        store.put([ReflectionFactory()])
    assert store.count(Reflection) == 2


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
    record = ReflectionFactory()
    open_store(tmp_path).put([record])
    assert open_store(tmp_path).find(Reflection) == [record]


def test_a_lock_that_is_held_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    process = _worker("hold", tmp_path)
    with ended(process):
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (
            Directory.open(tmp_path) as directory,
            pytest.raises(LockTimeout, match=f"process {process.pid}"),
            locked(directory, "x", 0.1),
        ):
            pass
    with Directory.open(tmp_path) as directory, locked(directory, "x", 5):
        pass


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".x.lock").symlink_to("/etc/passwd")
    with (
        Directory.open(tmp_path) as directory,
        pytest.raises(DocumentRefused, match="symbolic link"),
        locked(directory, "x", 1),
    ):
        pass


def test_other_layers_files_are_never_touched(tmp_path: Path, data_dir: Path) -> None:
    foreign = ["events/log.json", "mav/actions.json", "te/patterns.json", "te/insights.json", "te/actions.json"]
    for name in foreign:
        (data_dir / name).parent.mkdir(exist_ok=True)
        (data_dir / name).write_text(name)
    log = ReflectionLog(open_store(data_dir))
    log.save_reflection(_reflection("x"), "ana")
    log.delete_user("ana")
    assert {name: (data_dir / name).read_text() for name in foreign} == {name: name for name in foreign}


def test_a_save_without_a_session_goes_to_default_in_the_guides_layout(data_dir: Path) -> None:
    ReflectionLog(open_store(data_dir)).save_reflection(_reflection("x"), "ana")
    assert json.loads((data_dir / "te/reflections.json").read_bytes()) == {
        "sessions": {
            "default": [{"id": "x", "input": "i", "output": "o", "tags": [], "createdAt": "2024-01-01T00:00:00.000Z"}]
        },
        "userSessions": {"ana": ["default"]},
    }


def _fail(*_: Any, **__: Any) -> None:
    raise OSError(5, "Input/output error")


def test_the_last_good_generation_is_kept(tmp_path: Path) -> None:
    store, path = open_store(tmp_path), tmp_path / "te/reflections.json"
    store.put([ReflectionFactory()])
    before = path.read_bytes()
    store.put([ReflectionFactory()])
    assert (tmp_path / "te/reflections.json.prev").read_bytes() == before


def test_what_somebody_else_writes_during_a_save_is_kept_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, path = open_store(tmp_path), tmp_path / "te/reflections.json"
    store.put([ReflectionFactory()])
    exchange = FileSystem.exchange

    def late(fs: FileSystem, *names: Any) -> None:
        path.write_text('{"sessions": {}, "theirs": true}')
        exchange(fs, *names)

    monkeypatch.setattr(FileSystem, "exchange", late)
    store.put([ReflectionFactory()])
    (aside,) = (tmp_path / "te").glob("reflections.json.conflict-*")
    assert json.loads(aside.read_bytes())["theirs"] is True
    assert store.count(Reflection) == 2


def test_a_file_that_somebody_makes_during_the_first_save_is_kept_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path, rename = open_store(tmp_path), tmp_path / "te/reflections.json", FileSystem.rename_to_free

    def late(fs: FileSystem, *names: Any) -> None:
        path.write_text('{"sessions": {}, "theirs": true}')
        rename(fs, *names)

    monkeypatch.setattr(FileSystem, "rename_to_free", late)
    store.put([ReflectionFactory()])
    (aside,) = (tmp_path / "te").glob("reflections.json.conflict-*")
    assert json.loads(aside.read_bytes())["theirs"] is True


def test_a_system_that_cannot_exchange_names_replaces_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(FileSystem, "exchange", unknown)
    monkeypatch.setattr(FileSystem, "rename_to_free", unknown)
    store = open_store(tmp_path)
    for _ in range(3):
        store.put([ReflectionFactory()])
    assert store.count(Reflection) == 3
    names = sorted(path.name for path in (tmp_path / "te").iterdir())
    assert names == [".reflections.json.lock", "reflections.json", "reflections.json.prev"]


def test_a_file_that_is_gone_is_not_started_over_where_something_of_it_is_left(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put([ReflectionFactory()])
    store.put([ReflectionFactory()])
    (tmp_path / "te/reflections.json").unlink()
    for call in (lambda: store.put([ReflectionFactory()]), lambda: store.count(Reflection)):
        with pytest.raises(DocumentCorrupt, match=r"reflections.json.prev beside it"):
            call()
    assert sorted(path.name for path in (tmp_path / "te").iterdir()) == [
        ".reflections.json.lock",
        "reflections.json.prev",
    ]
    (tmp_path / "te/reflections.json.prev").rename(tmp_path / "te/reflections.json")
    assert store.count(Reflection) == 1


def _fail_on_files(call: Any) -> Any:
    def failing(fs: FileSystem, first: Any, *rest: Any) -> Any:
        temporary = isinstance(first, str) or str(Path(f"/proc/self/fd/{first}").readlink()).endswith(".tmp")
        return _fail() if temporary else call(fs, first, *rest)

    return failing


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_disk_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def unlockable(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileSystem, "lock", unlockable)
    with pytest.raises(DocumentRefused, match="local disk"):
        open_store(tmp_path).put([ReflectionFactory()])
    assert not (tmp_path / "te/reflections.json").exists()


def test_a_limit_on_the_size_of_files_leaves_the_old_content(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put([ReflectionFactory()])
    before = (tmp_path / "te/reflections.json").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        with pytest.raises(SaveFailed, match="File too large"):
            store.put([ReflectionFactory(input="x" * 10_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "te/reflections.json").read_bytes() == before
    assert not list((tmp_path / "te").glob(".*.tmp"))
