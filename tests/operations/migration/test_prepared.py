"""Batches that another process has prepared have the same outcome as those of a thread."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reflections import write
from orbsite.operations.migration import batches, prepared
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.migration.verify import verify
from orbsite.operations.prefetch import Ahead
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.file.content import spans
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Entry, Span, flattened
from orbsite.stores import open_sql_store
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.operations.migration.test_batches import document, item
from tests.support.serving import ROOT
from tests.support.time_limits import time_limit

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

MANY = 20_000


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that prepared sources; all sources are large enough for one, if `_may_fork` allows it."""
    made, fork = list[int](), os.fork

    def counted() -> int:
        pid = fork()
        made.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", counted)
    monkeypatch.setattr(prepared, "LARGE", 0)
    monkeypatch.setattr(prepared, "_may_fork", lambda: True)
    monkeypatch.setattr(batches, "SIZE", 3)
    return made


def _plain() -> bytes:
    """Return a document of records with one owner each, without findings."""
    sessions = {"a": [item(number) for number in range(12)], "d": [item(20), item(21, extra=1)], "e": [item(22)]}
    return json.dumps({"sessions": sessions, "userSessions": {"ana": ["a", "d"], "bo": ["e"]}}).encode()


def _changed(content: bytes, *more: Any) -> bytes:
    """Return a document with a changed, a newer, a removed and some new items."""
    tree = json.loads(content)
    items = tree["sessions"]["a"]
    items[1]["output"] = "changed"
    items[2] |= {"output": "newer", "createdAt": "2024-05-02T03:04:05.000Z"}
    del items[4]
    items[4:4] = [item(100), item(101, extra={"a": [1, None]}), *more]
    tree["sessions"]["f"] = [item(number) for number in range(200, 220)]
    tree["userSessions"]["bo"].append("f")
    return json.dumps(tree).encode()


PLAIN = (_plain(), _plain(), _changed(_plain()))
MIXED = (document(), document(), _changed(document(), {"id": 7}))
"""Three versions of a document; the second one also has records of several possible owners, copies and findings."""


def _transcript(base: Path, contents: Sequence[bytes]) -> list[Any]:
    """Migrate, verify, change either side, and do it again; return all that is reported and stored."""
    told = list[Any]()

    def step() -> None:
        for report in (migrate([TE], base, now=utc_now), verify([TE], base)):
            section = report.domains["te"]
            counts = {name: +found for name, found in section.counts.items()}
            told.append((counts, sorted((one.path, one.message) for one in section.findings)))
        stored = open_sql_store(TE).walk(Reflection)
        told.append(sorted((*one.key, digest(one)) for one in stored))
        told.append(sorted(ReflectionRow.objects.values_list("user_id", "id", "position")))

    path = base / TE.file
    path.parent.mkdir(mode=0o700, parents=True)
    base.chmod(0o700)
    for content in contents:
        path.write_bytes(content)
        path.chmod(0o600)
        step()
    ReflectionRow.objects.filter(id="r5").delete()
    ReflectionRow.objects.filter(id="r6").update(output="by hand")
    step()
    return told


@pytest.fixture(params=["default", "postgresql"])
def _database(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("db" if request.param == "default" else "on_postgresql")


@pytest.mark.django_db(databases="__all__")
@pytest.mark.usefixtures("_database")
@pytest.mark.parametrize("contents", [PLAIN, MIXED], ids=["plain", "mixed"])
def test_both_ways_report_and_store_the_same(
    contents: Sequence[bytes], tmp_path: Path, forks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    warned = list[str]()
    monkeypatch.setattr(prepared.logger, "warning", warned.append)
    monkeypatch.setattr(prepared, "Ahead", contextlib.nullcontext)  # a thread would have a connection of its own
    ours = _transcript(tmp_path / "process", contents)
    assert (len(forks), warned) == (8, [])
    ReflectionRow.objects.all().delete()
    monkeypatch.setattr(prepared, "_may_fork", lambda: False)
    assert _transcript(tmp_path / "thread", contents) == ours
    assert len(forks) == 8
    kinds = [{what for found in counts.values() for what in found} - {"rejected"} for counts, _ in ours[0::4]]
    first = {"read", "new"} if contents is PLAIN else {"read", "new", "unchanged"}
    changed = {"read", "new", "unchanged"}
    assert kinds == [first, {"read", "unchanged"}, changed | {"replaced"}, changed | {"kept"}]


@pytest.mark.django_db
def test_a_process_prepares_until_there_is_more_to_be_said(forks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "has_plain_rows", True)

    def handed_over(content: bytes) -> list[bool]:
        def read() -> Iterator[Entry | Span]:
            return spans(TE, content)

        with prepared.prepared(read(), MemoryStore(TE), part=3, again=read) as made:
            return [batch.whole is not None for batch in made]

    assert set(handed_over(_plain())) == {True}
    found = handed_over(document())
    assert set(found) == {True, False}
    assert found == sorted(found, reverse=True)
    assert len(forks) == 2


@pytest.mark.django_db
@pytest.mark.parametrize("sent", [0, 1, 3])
@pytest.mark.parametrize("begun", [b"", struct.pack("!i", 100) + b"the beginning of a message"])
def test_the_rest_is_prepared_here_if_the_process_is_killed(
    sent: int, begun: bytes, tmp_path: Path, forks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = prepared._serve

    def killed(make: Callable[[], Iterator[bytes]], writing: Connection) -> None:
        def some() -> Iterator[bytes]:
            yield from itertools.islice(make(), sent)
            os.write(writing.fileno(), begun)
            os.kill(os.getpid(), signal.SIGKILL)

        serve(some, writing)

    monkeypatch.setattr(prepared, "_serve", killed)
    warned = list[str]()
    monkeypatch.setattr(prepared.logger, "warning", warned.append)
    ours = _transcript(tmp_path / "process", PLAIN)
    assert (len(forks), len(warned)) == (8, 8 if sent < 2 else 4)  # a verification has one batch here
    assert set(warned) == {"The process that prepared the records ended early. They are prepared here from now on."}
    ReflectionRow.objects.all().delete()
    monkeypatch.setattr(prepared, "_may_fork", lambda: False)
    assert _transcript(tmp_path / "thread", PLAIN) == ours


def test_a_problem_of_the_source_is_met_where_it_lies(forks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def read() -> Iterator[Entry | Span]:
        yield from spans(TE, document())
        raise DocumentCorrupt("it ends here")

    monkeypatch.setattr(MemoryStore, "has_plain_rows", True)
    whole = len(list(TE.layout.decode(document())))
    with prepared.prepared(read(), MemoryStore(TE), part=3, again=read) as made:
        found = [next(made) for _ in range(whole // 3)]
        with pytest.raises(DocumentCorrupt, match="it ends here"):
            list(made)
    assert (len(forks), {batch.size for batch in found}) == (1, {3})


def test_a_source_that_cannot_be_read_again_or_is_small_is_prepared_in_a_thread(
    forks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(**options: Any) -> int:
        with prepared.prepared(spans(TE, document()), store, **options) as made:
            return sum(batch.size for batch in made)

    store, whole = MemoryStore(TE), len(list(flattened(spans(TE, document()))))
    assert taken(again=lambda: spans(TE, document())) == whole  # a store that has no plain rows
    monkeypatch.setattr(MemoryStore, "has_plain_rows", True)
    assert taken() == whole
    monkeypatch.setattr(prepared, "LARGE", 10)
    assert taken(again=lambda: spans(TE, document()), size=9) == whole
    assert forks == []
    monkeypatch.setattr(os, "fork", _refused)
    assert taken(again=lambda: spans(TE, document()), size=10) == whole
    monkeypatch.undo()
    with Ahead(iter([1])):  # while there is a thread
        assert not prepared._may_fork()


def _refused() -> int:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def _children(pid: int) -> list[int]:
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(place.parent.name))
    return found


def _until(holds: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + time_limit(60)
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return found


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a command over a large file and a database of its own."""
    write(tmp_path / "data", MANY)
    environment = {
        **os.environ,
        "DEBUG": "true",
        "DJANGO_SETTINGS_MODULE": "orbsite.settings",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "ORB_DATA_DIR": str(tmp_path / "data"),
    }

    def start(name: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", name, *arguments],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    with start("migrate", "-v0") as made:
        assert made.communicate() == ("", "")
    return start


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="there is one processor")
@pytest.mark.parametrize("victim", ["neither", "the process that prepares", "the command"])
def test_a_large_migration_has_a_process_that_prepares_and_survives_its_end(
    victim: str, command: Callable[..., subprocess.Popen[str]]
) -> None:
    arguments = ("migrate_orb_files", "--no-backup", "--only", "te", "--format", "json")
    with command(*arguments) as running:
        (child,) = _until(lambda: _children(running.pid), "no process prepares")
        if victim != "neither":
            os.kill(child if victim == "the process that prepares" else running.pid, signal.SIGKILL)
        out, err = running.communicate()
    _until(lambda: not Path(f"/proc/{child}").exists(), "the process that prepares is still there")
    assert ("ended early" in err) == (victim == "the process that prepares")
    if victim == "the command":
        assert running.returncode == -signal.SIGKILL
        with command(*arguments) as again:
            out, _ = again.communicate()
    assert json.loads(out)["domains"]["te"]["read"] == MANY
    with command("verify_orb_files", "--only", "te", "--format", "json") as verified:
        out, _ = verified.communicate()
    assert (verified.returncode, json.loads(out)["domains"]["te"]["equal"]) == (0, MANY)
