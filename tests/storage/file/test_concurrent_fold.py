"""A fold that is made while saves go on: nobody waits for it, nobody reads the document again, and nothing is lost."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode, Profile
from orbsite.storage.encoding.json_printer import SlicedList, compact, stringified, stringify
from orbsite.storage.file import store as stores
from orbsite.storage.file.content import Content
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.writer import Writer
from orbsite.storage.filesystem.syscalls import FileSystem
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.contract.harness import PACKINGS
from tests.support.factories import ProfileFactory, ReflectionFactory
from tests.support.time_limits import time_limit

PATIENCE = 60


def opened(base: Path, fs: FileSystem | None = None, form: str = "") -> FileStore:
    document = Document(base, TE.file, PACKINGS[form], fs=fs or FileSystem())
    return FileStore(TE, document, journal_above=0, concurrent_above=0)


def save(store: FileStore, *names: str, text: str = "text") -> None:
    store.put([ReflectionFactory(id=name, input=text, session_id=f"s-{name[0]}") for name in names])


def content(store: FileStore) -> dict[str, str]:
    return {one.id: one.input for one in store.find(Reflection)}


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The times that a document was read."""
    found: list[str] = []
    usual = stores.load

    def load(*args: Any, **options: Any) -> Any:
        found.append("load")
        return usual(*args, **options)

    monkeypatch.setattr(stores, "load", load)
    return found


@pytest.fixture
def base(tmp_path: Path) -> Path:
    store = opened(tmp_path)
    save(store, *(f"{letter}{number}" for letter in "abc" for number in range(20)))
    save(store, "a1", "b1", text="new")
    store.delete(Reflection, [("ana", "c3")])
    return tmp_path


def during(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Act while a fold writes the document."""
    usual = Content.encode_copy

    def encode(content: Content, *args: Any) -> bytes:
        act()
        return usual(content, *args)

    monkeypatch.setattr(Content, "encode_copy", encode)


@pytest.mark.parametrize("form", PACKINGS)
def test_what_is_saved_meanwhile_is_there_and_nobody_reads_the_document_again(
    tmp_path: Path, form: str, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores_ = [opened(tmp_path / "data", form=form) for _ in range(3)]
    one, other, reader = stores_
    save(one, *(f"a{number}" for number in range(50)))
    save(one, "a1", text="new")
    expected = content(other) | {"during": "text", "theirs": "text"}
    assert content(reader) == content(other)
    during(monkeypatch, lambda: (save(one, "during"), save(other, "theirs")))
    del loads[:]
    assert one.fold_concurrently()
    assert [content(store) for store in stores_] == [expected] * 3
    assert loads == []
    monkeypatch.undo()

    save(other, "a2", text="after")
    assert other.fold_concurrently()
    reader.delete(Reflection, [("ana", "a3")])
    del expected["a3"]
    assert [content(store) for store in (*stores_, opened(tmp_path / "data", form=form))] == [
        expected | {"a2": "after"}
    ] * 4


def test_the_document_has_all_saves_before_the_fold_and_the_journal_the_others(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(base)
    before = store.snapshot()
    during(monkeypatch, lambda: save(store, "new"))
    assert store.fold_concurrently()
    path = base / TE.file
    assert path.read_bytes() == before
    first, *lines = map(json.loads, path.with_name(f"{path.name}.journal").read_bytes().splitlines())
    assert first["follows"]["until"] == 2
    assert [[step["record"]["id"] for step in line["steps"]] for line in lines] == [["new"], []]
    assert sorted(file.name for file in path.parent.iterdir()) == [
        ".reflections.json.lock",
        "reflections.json",
        "reflections.json.journal",
        "reflections.json.prev",
    ]
    assert store.fold()
    assert content(opened(base)) == content(store)
    assert "new" in content(store)


def test_a_document_that_another_program_changes_meanwhile_is_taken_over(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, path = opened(base), base / TE.file

    def edit() -> None:
        path.write_bytes(path.read_bytes().replace(b'"b2"', b'"edited"'))

    during(monkeypatch, edit)
    assert not store.fold_concurrently()
    for one in (store, opened(base)):
        assert {"edited", "a1"} <= content(one).keys()
        assert content(one)["a1"] == "new"


def test_a_document_that_another_program_changes_at_the_swap_is_kept_aside(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Editing(FileSystem):
        def exchange(self, one: str, other: str, within: int) -> None:
            path = base / TE.file
            path.write_bytes(path.read_bytes().replace(b'"b2"', b'"edited"'))
            super().exchange(one, other, within)

    time.sleep(0.2)  # so that the document's status is trusted, as that of every large document
    assert opened(base, Editing()).fold_concurrently()
    (conflict,) = (base / TE.file).parent.glob("*.conflict-*")
    assert b'"edited"' in conflict.read_bytes()
    assert content(opened(base))["b2"] == "text"


def test_a_fold_gives_way_to_another_one(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = opened(base), opened(base)
    during(monkeypatch, lambda: (save(other, "new"), other.fold()))
    assert not store.fold_concurrently()
    assert content(store) == content(opened(base))
    assert "new" in content(store)


def test_an_erasure_removes_what_a_fold_is_writing(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other, left = opened(base), opened(base), list[str]()

    def erase() -> None:
        other.filter(lambda data: data.replace(b'"b2"', b'"gone"'))
        left.extend(path.name for path in (base / "te").glob(".*.tmp"))

    during(monkeypatch, erase)
    assert not store.fold_concurrently()
    assert left == []
    assert "b2" not in content(store)
    assert not (base / "te/lost+found").exists()


def test_only_one_process_folds(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, answers = opened(base), list[bool]()
    during(monkeypatch, lambda: answers.append(opened(base).fold_concurrently()))
    assert store.fold_concurrently()
    assert answers == [False]


def test_files_that_a_fold_is_writing_are_not_taken_for_leftovers(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(base)
    during(monkeypatch, lambda: save(opened(base), "new"))  # a new process clears what dead ones have left
    assert store.fold_concurrently()
    assert not (base / "te/lost+found").exists()
    assert "new" in content(opened(base))


@pytest.mark.parametrize("calls", range(12))
def test_a_fold_that_stops_half_way_leaves_what_the_next_one_can_use(base: Path, calls: int) -> None:
    left = iter(range(calls))

    class Failing(FileSystem):
        def _fail(self) -> None:
            if next(left, None) is None:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        def sync(self, descriptor: int) -> None:
            self._fail()
            super().sync(descriptor)

        def sync_data(self, descriptor: int) -> None:
            self._fail()
            super().sync_data(descriptor)

        def exchange(self, one: str, other: str, within: int) -> None:
            self._fail()
            super().exchange(one, other, within)

        def rename(self, old: str, new: str, within: int) -> None:
            self._fail()
            super().rename(old, new, within)

    expected = content(opened(base))
    watching = opened(base)
    content(watching)
    try:
        is_folded = opened(base, Failing()).fold_concurrently()
    except Exception:  # noqa: BLE001 -- whichever it is, nothing may be lost
        is_folded = False
    assert content(watching) == expected
    assert content(opened(base)) == expected
    save(watching, "next")
    assert opened(base).fold_concurrently() or is_folded
    assert content(watching) == content(opened(base)) == expected | {"next": "text"}


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[FileStore]:
    """A store whose journal is due to be folded with the next save."""
    store = opened(tmp_path)
    save(store, *(f"a{number}" for number in range(1000)), text="x" * 300)
    yield store
    store.close()


def _overfill(store: FileStore) -> None:
    for number in range(40):
        save(store, *(f"b{number}-{part}" for part in range(10)), text="y" * 300)


def _awaited(wanted: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + time_limit(PATIENCE)
    while not wanted() and time.monotonic() < deadline:
        time.sleep(0.01)
    return wanted()


def test_a_large_journal_is_folded_in_the_background(growing: FileStore) -> None:
    size = growing.base / TE.file
    before = size.stat().st_size
    _overfill(growing)
    assert _awaited(lambda: size.stat().st_size > before)
    growing.close()
    assert content(opened(growing.base)).keys() == {f"a{number}" for number in range(1000)} | {
        f"b{number}-{part}" for number in range(40) for part in range(10)
    }


def test_saves_and_reads_go_on_while_a_fold_writes(growing: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, over = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert over.wait(time_limit(PATIENCE))

    during(monkeypatch, wait)
    _overfill(growing)
    assert begun.wait(time_limit(PATIENCE))
    save(growing, "meanwhile")
    assert "meanwhile" in content(growing)
    assert "meanwhile" in content(opened(growing.base))
    over.set()
    growing.close()
    assert "meanwhile" in content(opened(growing.base))


def test_saves_are_slowed_down_while_a_fold_cannot_keep_pace(
    growing: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses, over = list[float](), threading.Event()
    monkeypatch.setattr(stores.time, "sleep", pauses.append)
    during(monkeypatch, lambda: over.wait(time_limit(PATIENCE)))
    _overfill(growing)
    assert pauses == []
    for _ in range(3):
        _overfill(growing)
    assert pauses
    over.set()


def test_a_fold_that_fails_is_tried_again(
    growing: FileStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "begin_fold", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "no space")))
        _overfill(growing)
        assert _awaited(lambda: "was not folded" in caplog.text)
    assert _awaited(lambda: growing._folding is None)
    _overfill(growing)
    _overfill(growing)
    _overfill(growing)
    assert _awaited(lambda: growing._folding is None)
    growing.close()
    assert growing.journal_size() < 100_000


def _change_reflections(content: Content, draw: random.Random, number: int) -> None:
    records = content.view.find(Reflection)
    one = draw.choice(records)
    match draw.randrange(6):
        case 0:
            content.add(ReflectionFactory(id=f"n{number}", session_id=draw.choice(["s-a", "s-b", "new"])))
        case 1:
            content.upsert([replace(one, input="changed")], None)
        case 2:
            content.upsert([replace(one, session_id=draw.choice(["s-a", "s-c", "other"]))], None)
        case 3:
            content.delete(Reflection, [one.key], None)
        case 4:
            content.drop_many(Reflection, [one])
        case _:
            content.drop_many(Reflection, [one])
            content.put_back([(one, 0)])


def _change_profiles(content: Content, draw: random.Random, number: int) -> None:
    user = draw.choice(["ana", "bob", "eva", f"u{number}"])
    match draw.randrange(4):
        case 0:
            content.upsert(
                [ProfileFactory(user_id=user, mode_id=draw.choice(["mars", "pluto"]), preferences=(f"f{number}",))],
                None,
            )
        case 1:
            content.upsert([ActiveMode(user_id=user, mode_id="mars")], None)
        case 2:
            content.delete(ActiveMode, [(user,)], None)
        case _:
            content.delete(Profile, [(user, "mars")], None)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("domain", "change"), [(TE, _change_reflections), (LUNA, _change_profiles)], ids=["te", "luna"]
)
def test_a_copy_stays_as_the_content_was_whatever_is_changed_meanwhile(domain: Any, change: Any, seed: int) -> None:
    draw, content = random.Random(seed), Content(domain, None)
    if domain is TE:
        content.upsert([ReflectionFactory(id=f"r{at}", session_id=f"s-{'abc'[at % 3]}") for at in range(12)], None)
    for number in range(10):
        change(content, draw, number)
    before, copy = content.encode(), content.begin_copy()
    for number in range(10, 20):
        change(content, draw, number)
        if draw.random() < 0.4:
            copy.go_on(2)
    assert content.encode() != before
    while not copy.go_on(3):
        pass
    assert content.encode_copy(copy) == before


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.sampled_from("0179"), inner),
)


@hypothesis_settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=3) | st.sampled_from("0179"), _json), st.integers(0, 3))
def test_pieces_are_the_whole(value: Any, depth: int) -> None:
    assert b"".join(stringified(value, depth)) == stringify(value)


class Slices(SlicedList):
    def __init__(self, content: list[Any], *, is_raw: bool) -> None:
        self._content, self._is_raw = content, is_raw

    def __len__(self) -> int:
        return len(self._content)

    def part(self, start: int, end: int) -> list[Any] | msgspec.Raw:
        part = self._content[start:end]
        return msgspec.Raw(compact(part)) if self._is_raw else part


@hypothesis_settings(max_examples=40)
@given(st.lists(_json, max_size=4), st.sampled_from([0, 1, 199, 200, 201, 400, 401]), st.booleans())
def test_slices_are_the_whole_list(some: list[Any], size: int, is_raw: bool) -> None:
    content = list(itertools.islice(itertools.cycle(some), size)) if some else []
    sliced = {"a": Slices(content, is_raw=is_raw), "b": 1}
    assert b"".join(stringified(sliced)) == stringify(sliced) == stringify({"a": content, "b": 1})


def test_no_piece_of_a_large_session_is_printed_in_one_go() -> None:
    content_ = Content(TE, None)
    content_.upsert([ReflectionFactory(id=f"r{number}", session_id="one") for number in range(1000)], None)
    pauses = list[int]()
    copy = content_.begin_copy()
    while not copy.go_on(100):
        pass
    assert content_.encode_copy(copy, lambda: pauses.append(1)) == content_.encode()
    assert len(pauses) >= 5
