"""Erasure in files: the erasure list under a data directory, and documents without the data of erased users."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from orbsite.storage.base.erasures import Erasure, ErasureList, moment_in
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.file import journal
from orbsite.storage.file.content import entries
from orbsite.storage.file.document import naming_the_setting
from orbsite.storage.file.envelope import Plain
from orbsite.storage.file.tombstones import OWN
from orbsite.storage.filesystem.atomic_replace import failing_whole, prepared
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.lock import locked
from orbsite.storage.filesystem.syscalls import OS, FileSystem
from orbsite.storage.records.domain import Domain, Entry, Tree, plant
from orbsite.storage.records.record import Key, Record


class ErasureFilter:
    """Tells which entries of one source hold data that was erased.

    What carries no time of its own, such as the active mode of a file or an item that does not decode, is erased unless
    the source has newer records of its user.
    """

    def __init__(self, domain: Domain, erasures: ErasureList, source: Callable[[], Iterable[Entry]]) -> None:
        """`source` returns all entries; they are read again only where an erased user has something without a time."""
        self._domain, self._erasures, self._source = domain, erasures, source
        self._newer: set[str] | None = None

    def moment(self, entry: Entry) -> datetime | None:
        """Return when what an entry holds was erased; None where it stays."""
        owner = self._domain.layout.owner_of(entry) if self._erasures else None
        moment = self._erasures.moment(owner)
        if owner is None or moment is None:
            return None
        record = _record_in(entry)
        told = None if record is None else moment_in(record)
        is_new = owner in self._with_newer() if told is None else told > moment
        return None if is_new else moment

    def _with_newer(self) -> set[str]:
        if self._newer is None:
            records = (record for entry in self._source() if (record := _record_in(entry)) is not None)
            self._newer = {one.owner for one in records if moment_in(one) and self._erasures.covers(one) is None}
        return self._newer


def _record_in(entry: Entry) -> Record | None:
    thing = entry.value if entry.record is None else entry.record
    return thing if isinstance(thing, Record) else None


def without(
    domain: Domain, data: bytes, goes: Callable[[Entry], bool], *, is_gone: Callable[[str], bool]
) -> tuple[bytes, list[Entry]]:
    """Return a document without some entries, and these; where nothing goes, the document as it is.

    What they alone have needed goes with them: lists that they leave empty, and what names a user of whom nothing is
    left, where `is_gone` says so.
    """
    tree: Tree = {}
    gone: list[Entry] = []
    kept: set[str | None] = set()
    for entry in entries(domain, data):
        if not entry.place:
            continue
        if goes(entry):
            gone.append(entry)
            continue
        if entry.kind is not None:
            kept.add(domain.layout.owner_of(entry))
        plant(tree, entry.place, entry.value if entry.record is None else entry.record)
    is_changed = domain.layout.forget(
        tree, lambda user: user not in kept and is_gone(user), [entry.place for entry in gone]
    )
    return (stringify(domain.layout.encode(tree)) if gone or is_changed else data), gone


def without_erased(domain: Domain, data: bytes, erasures: ErasureList) -> tuple[bytes, list[Entry]]:
    """Return a document without what the erasure list says was erased, and what goes."""
    if not erasures:
        return data, []
    erasure_filter = ErasureFilter(domain, erasures, lambda: entries(domain, data))
    return without(
        domain,
        data,
        lambda entry: erasure_filter.moment(entry) is not None,
        is_gone=lambda user: erasures.moment(user) is not None,
    )


def without_user(
    domain: Domain, data: bytes, user: str, taken: Container[tuple[type[Record], Key]]
) -> tuple[bytes, list[Entry]]:
    """Return a document with nothing of a user, and what goes.

    A record that may be of several users goes too where it would have, as this user's, a key that is among `taken`.
    """

    def goes(entry: Entry) -> bool:
        if domain.layout.owner_of(entry) == user:
            return True
        record = entry.record
        return record is not None and user in entry.owners and (type(record), _key_of(record, user)) in taken

    return without(domain, data, goes, is_gone=lambda name: name == user)


def _key_of(record: Record, user: str) -> Key:
    return tuple(user if name == "user_id" else getattr(record, name) for name in record.key_fields)


ERASURES = "erasures"


VERSION = 1


_LOCK_TIMEOUT = 20.0


class ErasureFile:
    """The erasure list under a data directory."""

    def __init__(self, base: Path, fs: FileSystem = OS) -> None:
        self._base, self._fs = base, fs

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._base / OWN / ERASURES

    def read(self) -> frozenset[Erasure]:
        """Return the erasures, none where there is no file. Raises DocumentCorrupt where a line is damaged."""
        try:
            with naming_the_setting(self._base), Directory.open(self._base, self._fs) as base, base.enter(OWN) as own:
                data = own.read(ERASURES)
        except FileNotFoundError:
            return frozenset()
        return frozenset(self._lines(data or b""))

    def add(self, erasures: Iterable[Erasure]) -> None:
        """Add erasures, durably; those that are there already stay as they are. Raises DocumentCorrupt, SaveFailed."""
        wanted = frozenset(erasures)
        if wanted <= self.read():
            return
        with (
            failing_whole(self.path),
            naming_the_setting(self._base),
            Directory.make(self._base, self._fs) as base,
            base.enter_or_make(OWN) as own,
            locked(own, ERASURES, _LOCK_TIMEOUT),
        ):
            lines = sorted(wanted | self.read())
            data = b"".join(
                journal.closed(Plain(), {"erasures": VERSION, "seq": number, **msgspec.to_builtins(one)})
                for number, one in enumerate(lines, 1)
            )
            with prepared(own, ERASURES, data) as successor:
                successor.take_over()

    def _lines(self, data: bytes) -> Iterable[Erasure]:
        *kept, rest = data.split(b"\n")
        for number, one in enumerate(kept, 1):
            text = journal.opened(one, Plain())
            line: dict[str, Any] = {} if text is None else msgspec.json.decode(text)
            if line.get("erasures", VERSION) != VERSION:
                raise DocumentCorrupt(f"{self.path} was written by a newer program; use that. Nothing was changed")
            if line.get("seq") != number:
                raise self._damaged(f"line {number} is not what was written")
            yield msgspec.convert(line, Erasure, strict=False)
        if rest:
            raise self._damaged("its end is missing")

    def _damaged(self, what: str) -> DocumentCorrupt:
        return DocumentCorrupt(
            f"the erasure list {self.path} is damaged: {what}; nothing was changed, so that nobody comes back. "
            "Put it back from a copy of the data directory"
        )
