"""Whatever becomes of a journal's bytes, exactly the saves before the damage are read: bar R11, with its teeth.

ORB_SEED makes other saves.
"""

from __future__ import annotations

import errno
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode, Profile
from orbsite.storage.errors import DocumentCorrupt, KeyUnavailable, NotSealed
from orbsite.storage.file import journal as journals
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem.syscalls import FileSystem
from orbsite.storage.records.changes import Delete, Put, Step, StepReader, as_json
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Extra
from orbsite.storage.sealing.envelope import PLAIN
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.contract.harness import PACKINGS
from tests.support.effort import effort
from tests.support.factories import BEGIN, ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("ORB_SEED", "11"))
LINES = effort(4, 10)
MASKS = (1, 0x80, 0xFF)
UNREADABLE = (DocumentCorrupt, KeyUnavailable, NotSealed)


class Quick(FileSystem):
    """Waits for no disk."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_data(self, descriptor: int) -> None:
        pass


def open_store(base: Path, fs: FileSystem | None = None) -> FileStore:
    form = next((form for form in PACKINGS if form.strip() and base.name.startswith(form.strip())), "")
    return FileStore(TE, Document(base, TE.file, PACKINGS[form], fs=fs or Quick()), journal_above=0)


def content(base: Path) -> dict[str, str] | None:
    """Return what a new process reads, None where it refuses to."""
    try:
        return {one.id: one.input for one in open_store(base).find(Reflection)}
    except UNREADABLE:
        return None


@dataclass
class Kept:
    """A document and its journal, and what is in them after each line."""

    base: Path
    document: bytes
    journal: bytes
    states: list[dict[str, str]]

    def lay(self, journal: bytes) -> None:
        for name in self.files():
            if name != "reflections.json":
                (self.base / "te" / name).unlink()
        if (self.base / "te/reflections.json").read_bytes() != self.document:
            (self.base / "te/reflections.json").write_bytes(self.document)
        (self.base / "te/reflections.json.journal").write_bytes(journal)

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.base / "te").iterdir() if path.suffix != ".lock"}


@dataclass
class Damage:
    journal: bytes
    state: dict[str, str] | None
    """What is to be read, None where reading is to be refused."""
    tail: bytes = b""

    def violation(self, kept: Kept, *, save: bool) -> str | None:
        kept.lay(self.journal)
        before = kept.files()
        found = content(kept.base)
        if found is None and kept.base.name == "sealed":  # a flip in the id of a key looks like another key
            return self.violation_of_a_refusal(kept, before)
        if found != self.state:
            return "it was read as something else"
        if save and self.state is not None:
            return self._violation_of_a_save(kept)
        if save:
            return self.violation_of_a_refusal(kept, before)
        return None if kept.files() == before else "reading changed something"

    def violation_of_a_refusal(self, kept: Kept, before: dict[str, bytes]) -> str | None:
        try:
            open_store(kept.base).put([ReflectionFactory(id="new")])
        except UNREADABLE:
            return None if kept.files() == before else "its bytes were changed"
        return "it was saved over"

    def _violation_of_a_save(self, kept: Kept) -> str | None:
        open_store(kept.base).put([ReflectionFactory(id="new", input="n")])
        torn = [data for name, data in kept.files().items() if ".torn-" in name]
        if (b"".join(torn), len(torn) > 1) != (self.tail, False):
            return "the torn end was not kept"
        return None if content(kept.base) == {**(self.state or {}), "new": "n"} else "the save did not go on"


@pytest.fixture(scope="module", params=["data", "sealed"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    base, draw = tmp_path_factory.mktemp("journal") / request.param, random.Random(SEED)
    store, states = open_store(base), []
    store.put([ReflectionFactory(id=name, input="0", session_id="s") for name in "abc"])
    path = base / "te/reflections.json"
    while len(states) < LINES:
        states.append({one.id: one.input for one in store.find(Reflection)})
        names = sorted(states[-1])
        if draw.random() < 0.3 and len(names) > 1:
            store.delete(Reflection, [("ana", draw.choice(names))])
        else:
            wanted = draw.sample("abcdé", draw.randrange(1, 3))
            store.put([ReflectionFactory(id=one, input=f"{len(states)} 用", session_id="s") for one in wanted])
    found = path.with_name("reflections.json.journal").read_bytes().splitlines(keepends=True)
    return Kept(base, path.read_bytes(), b"".join(found[:LINES]), states)


def cut(kept: Kept, fill: bytes = b"") -> Iterator[Damage]:
    for offset in range(len(kept.journal)):
        data = kept.journal[:offset]
        journal = data + fill * (len(kept.journal) - offset)
        whole = data.count(b"\n")
        yield Damage(journal, kept.states[max(whole - 1, 0)], journal[data.rfind(b"\n") + 1 :])


def flipped(kept: Kept) -> Iterator[Damage]:
    last = kept.journal[:-1].rfind(b"\n") + 1
    for offset, byte in enumerate(kept.journal):
        for mask in MASKS:
            data = kept.journal[:offset] + bytes([byte ^ mask]) + kept.journal[offset + 1 :]
            yield Damage(data, None) if offset < last else Damage(data, kept.states[-2], data[last:])


DAMAGES = {"cut": cut, "filled with zeros": lambda kept: cut(kept, b"\0"), "flipped": flipped}


def violations(kept: Kept, damages: Iterator[Damage], step: int = 1) -> tuple[int, list[str]]:
    """Try damages; save too after every one in the last line, and some of the others."""
    found, tried = [], 0
    for number, damage in enumerate(damages):
        if number % step == 0:
            tried += 1
            violation = damage.violation(kept, save=bool(damage.state == kept.states[-2]) or number % 31 == 0)
            found += [f"{number}: {violation}"] if violation else []
    return tried, found


@pytest.mark.deep
@pytest.mark.parametrize("damage", DAMAGES)
def test_exactly_the_saves_before_the_damage_are_read(kept: Kept, damage: str) -> None:
    step = effort(3, 3 if kept.base.name == "sealed" else 1) if damage == "flipped" else 1
    tried, found = violations(kept, DAMAGES[damage](kept), step)
    sys.stdout.write(f"journal: seed {SEED}, {LINES} lines, {damage} {tried} times, {len(found)} violations\n")
    assert tried == -(-len(kept.journal) * (len(MASKS) if damage == "flipped" else 1) // step)
    assert found == []


def _sums_are_not_checked(kept: bytes, envelope: Any) -> Any:
    try:
        return msgspec.json.decode(kept, type=journals.JournalEntry)
    except ValueError:
        return None


@pytest.mark.parametrize(("name", "mutant"), [("_parsed", _sums_are_not_checked), ("_good_lines", lambda *_: [])])
def test_a_journal_without_its_guard_reads_damage(
    kept: Kept, name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, name, mutant)
    assert violations(kept, flipped(kept), step=50)[1]


def _signed(journal: str, seq: int, **content: Any) -> bytes:
    return journals.closed(PLAIN, {"journal": journal, "seq": seq, **content})


def test_lines_that_are_missing_repeated_swapped_or_of_another_journal_are_refused(kept: Kept) -> None:
    head, *lines = kept.journal.splitlines(keepends=True)
    foreign = _signed("ffffffff", LINES, steps=[])
    for number in range(len(lines) - 1):
        for changed in (
            [*lines[:number], *lines[number + 1 :]],
            [*lines[:number], lines[number], *lines[number:]],
            [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]],
            [*lines[:number], foreign, *lines[number:]],
        ):
            assert Damage(b"".join([head, *changed]), None).violation(kept, save=True) is None
    for changed in ([*lines, lines[-1]], [*lines, foreign], [*lines, head]):
        assert Damage(b"".join([head, *changed]), None).violation(kept, save=True) is None
    assert Damage(b"".join(lines), None).violation(kept, save=True) is None


def test_a_journal_read_without_its_known_lines_is_the_rest_of_the_whole(kept: Kept) -> None:
    envelope = open_store(kept.base)._document.envelope
    whole = journals.scan(kept.journal, envelope)
    for count in range(len(whole.lines) + 1):
        rest = journals.scan_after(kept.journal, lambda _: count, envelope)  # noqa: B023 -- called at once
        assert (rest.head, rest.journal, rest.lines) == (whole.head, whole.journal, whole.lines[count:])
    for count in (None, -1, len(whole.lines) + 1):
        assert journals.scan_after(kept.journal, lambda _: count, envelope).journal is None  # noqa: B023
    damaged = kept.journal.replace(kept.journal.split(b"\n")[2], b"x")
    assert journals.scan_after(damaged, lambda _: 2, envelope).journal is None
    assert journals.scan_after(b"", lambda _: 0, envelope).journal is None


class Counting(FileSystem):
    """Counts the syncs. Without stamps, it is a disk that knows no extended attributes."""

    def __init__(self, *, has_stamps: bool = True) -> None:
        self.syncs = list[str]()
        self._has_stamps = has_stamps

    def sync(self, descriptor: int) -> None:
        self.syncs.append("all")

    def sync_data(self, descriptor: int) -> None:
        self.syncs.append("data")

    def stamp(self, descriptor: int, value: bytes) -> None:
        if not self._has_stamps:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        super().stamp(descriptor, value)


def test_what_another_process_has_synced_is_not_synced_again(tmp_path: Path) -> None:
    fs = Counting()
    store, other, unstamped = (open_store(tmp_path, disk) for disk in (fs, Quick(), Counting(has_stamps=False)))
    names = iter("abcdefgh")

    def syncs_after(writer: FileStore) -> list[str]:
        writer.put([ReflectionFactory(id=next(names))])
        fs.syncs.clear()
        store.put([ReflectionFactory(id=next(names))])
        return fs.syncs

    store.put([ReflectionFactory(id="first")])
    store.put([ReflectionFactory(id="second")])
    assert syncs_after(other) == ["data"]
    assert syncs_after(unstamped) == ["data", "all", "data"]
    assert syncs_after(store) == ["data"]
    assert len(store.find(Reflection)) == 8


@pytest.mark.parametrize("kept", ["data"], indirect=True)
def test_the_journal_of_a_newer_program_is_refused_and_both_files_stay(kept: Kept) -> None:
    head = _signed("0badcafe", 0, version=journals.VERSION + 1, base="x", later={"more": [1]})
    kept.lay(head + b"what only that program knows\n")
    before = kept.files()
    for call in (lambda store: store.find(Reflection), lambda store: store.put([ReflectionFactory()])):
        with pytest.raises(DocumentCorrupt, match="run the newer program"):
            call(open_store(kept.base))
    assert kept.files() == before


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.sampled_from([2**64, -(2**63), 2**70, 1e16])
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aU\n\"7é", max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
UNKNOWN = st.dictionaries(st.sampled_from(["later", "userId", "sessionId", "put", "7"]), JSON, max_size=3)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9)
REFLECTIONS = st.builds(
    Reflection, id=NAMES, input=TEXTS, output=TEXTS, tags=st.lists(TEXTS, max_size=2).map(tuple), user_id=NAMES,
    created_at=st.just(BEGIN), session_id=NAMES, notes=st.none() | TEXTS,
    extra=UNKNOWN.map(lambda found: Extra(found) if found else None),
)  # fmt: skip
PROFILES = st.builds(lambda user, texts: ProfileFactory(user_id=user, preferences=tuple(texts)), NAMES, st.lists(TEXTS))


def _read_back(domain: Domain, steps: list[Step]) -> list[Step]:
    journal = journals.begun(PLAIN, "the document")
    line = journal.line(PLAIN, steps=[as_json(step) for step in steps])
    scan = journals.scan(journal.head + line, PLAIN)
    assert (line.count(b"\n"), scan.rest, scan.damage) == (1, b"", None)
    return list(StepReader(domain).read(scan.lines[0].steps))


@given(st.lists(REFLECTIONS.map(Put) | st.tuples(NAMES).map(lambda key: Delete(Reflection, key)), max_size=4))
def test_any_steps_of_reflections_are_read_back_equal(steps: list[Step]) -> None:
    assert _read_back(TE, steps) == steps


MODES = st.builds(ActiveMode, user_id=NAMES, mode_id=NAMES)


@given(
    st.lists((PROFILES | MODES).map(Put) | st.tuples(NAMES, NAMES).map(lambda key: Delete(Profile, key)), max_size=4)
)
def test_any_steps_of_profiles_are_read_back_equal(steps: list[Step]) -> None:
    assert _read_back(LUNA, steps) == steps


UNUSUAL = [{"later": {"x": [1, None, True]}}, {"big": 2**64}, {"big": -(2**63) - 2**20, "deep": [2**100]}, {"e": 1e16},
           {"zero": -0.0}, {"notes": None}, {"put": "reflections", "extra": {}, "7": "first", "sum": "x"}]  # fmt: skip


@pytest.mark.parametrize("extra", UNUSUAL, ids=str)
def test_unknown_keys_and_odd_numbers_survive_the_journal_and_the_fold(tmp_path: Path, extra: dict[str, Any]) -> None:
    store, record = open_store(tmp_path), ReflectionFactory(id="x", extra=Extra(extra))
    store.put([ReflectionFactory()])
    store.put([record])
    (journaled,) = open_store(tmp_path).fetch(Reflection, [("ana", "x")]).values()
    assert open_store(tmp_path).fold()
    (folded,) = open_store(tmp_path).fetch(Reflection, [("ana", "x")]).values()
    assert digest(record) == digest(journaled) == digest(folded)
    assert set(extra) == set(journaled.extra or {}) == set(folded.extra or {})
