"""Erasure in files: the erasure list under a data directory, and removal of erased users' data from documents."""

from __future__ import annotations

from collections import Counter
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
from orbsite.storage.file.document import OWN, naming_the_setting
from orbsite.storage.file.store import FileStore
from orbsite.storage.filesystem.atomic_replace import failing_whole, prepared
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.filesystem.lock import locked
from orbsite.storage.filesystem.syscalls import OS, FileSystem
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.domain import Domain, Entry, Tree, plant
from orbsite.storage.records.record import Key, Record
from orbsite.storage.sealing.envelope import PLAIN


class ErasureFilter:
    """Finds the entries of one source that hold data of erased users.

    An entry without a time of its own, such as an active mode in a file or an item that does not decode, counts as
    erased unless the source has newer records of its user.
    """

    def __init__(self, domain: Domain, erasures: ErasureList, source: Callable[[], Iterable[Entry]]) -> None:
        """`source` returns all entries; it is called only if an erased user has an entry without a time."""
        self._domain, self._erasures, self._source = domain, erasures, source
        self._newer: set[str] | None = None

    def moment(self, entry: Entry) -> datetime | None:
        """Return the time of the erasure that covers an entry; None if the entry is kept."""
        owner = self._domain.layout.owner_of(entry) if self._erasures else None
        moment = self._erasures.moment(owner)
        if owner is None or moment is None:
            return None
        record = _record_in(entry)
        record_time = None if record is None else moment_in(record)
        is_new = owner in self._with_newer() if record_time is None else record_time > moment
        return None if is_new else moment

    def _with_newer(self) -> set[str]:
        if self._newer is None:
            records = (record for entry in self._source() if (record := _record_in(entry)) is not None)
            self._newer = {one.owner for one in records if moment_in(one) and self._erasures.covers(one) is None}
        return self._newer


def _record_in(entry: Entry) -> Record | None:
    value = entry.value if entry.record is None else entry.record
    return value if isinstance(value, Record) else None


def erase_user(
    store: MemoryStore | FileStore, user: str, leave_out: Callable[[bytes], tuple[bytes, list[Entry]]]
) -> tuple[Counter[type[Record]], set[tuple[type[Record], Key]]]:
    """Remove the records of a user, and return how many of each kind, and the keys of those of a file.

    `leave_out` returns a document without the user, and the entries that it left out.
    """
    if isinstance(store, MemoryStore):
        erased = Counter({kind: store.delete_where(kind, {"user_id": user}) for kind in store.domain.kinds})
        store.forget(user)
        return erased, set()
    entries: list[Entry] = []

    def erasure_filter(data: bytes) -> bytes:
        found, entries[:] = leave_out(data)
        return found

    store.filter(erasure_filter)
    items = [(entry.kind, entry.record) for entry in entries if entry.kind is not None]
    return Counter(kind for kind, _ in items), {(kind, one.key) for kind, one in items if one is not None}


def without(
    domain: Domain, data: bytes, goes: Callable[[Entry], bool], *, is_gone: Callable[[str], bool]
) -> tuple[bytes, list[Entry]]:
    """Remove the entries for which `goes` is true; return the document's new bytes and the removed entries.

    Lists that become empty are removed too, and so are the names of users who have no entries left and for whom
    `is_gone` is true. If nothing is removed, the document's bytes are unchanged.
    """
    tree: Tree = {}
    removed: list[Entry] = []
    kept: set[str | None] = set()
    for entry in entries(domain, data):
        if not entry.place:
            continue
        if goes(entry):
            removed.append(entry)
            continue
        if entry.kind is not None:
            kept.add(domain.layout.owner_of(entry))
        plant(tree, entry.place, entry.value if entry.record is None else entry.record)
    is_changed = domain.layout.forget(
        tree, lambda user: user not in kept and is_gone(user), [entry.place for entry in removed]
    )
    return (stringify(domain.layout.encode(tree)) if removed or is_changed else data), removed


def without_erased(domain: Domain, data: bytes, erasures: ErasureList) -> tuple[bytes, list[Entry]]:
    """Remove the data that the erasure list covers; return the document's new bytes and the removed entries."""
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
    """Remove all data of a user; return the document's new bytes and the removed entries.

    A record that may belong to several users is removed too if `taken` has the key it would have for this user.
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
        """The path of the erasure list."""
        return self._base / OWN / ERASURES

    def read(self) -> frozenset[Erasure]:
        """Return the erasures, none if there is no file. Raises DocumentCorrupt if a line is damaged."""
        try:
            with naming_the_setting(self._base), Directory.open(self._base, self._fs) as base, base.enter(OWN) as own:
                data = own.read(ERASURES)
        except FileNotFoundError:
            return frozenset()
        return frozenset(self._lines(data or b""))

    def add(self, erasures: Iterable[Erasure]) -> None:
        """Add erasures durably; erasures that are in the list already are kept. Raises DocumentCorrupt, SaveFailed."""
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
                journal.closed(PLAIN, {"erasures": VERSION, "seq": number, **msgspec.to_builtins(erasure)})
                for number, erasure in enumerate(lines, 1)
            )
            with prepared(own, ERASURES, data) as successor:
                successor.take_over()

    def _lines(self, data: bytes) -> Iterable[Erasure]:
        *kept, rest = data.split(b"\n")
        for number, one in enumerate(kept, 1):
            text = journal.opened(one, PLAIN)
            line: dict[str, Any] = {} if text is None else msgspec.json.decode(text)
            if line.get("erasures", VERSION) != VERSION:
                raise DocumentCorrupt(
                    f"{self.path} was written by a newer program; nothing was changed. Use that program"
                )
            if line.get("seq") != number:
                raise self._damaged(f"line {number} is not what was written")
            yield msgspec.convert(line, Erasure, strict=False)
        if rest:
            raise self._damaged("its end is missing")

    def _damaged(self, what: str) -> DocumentCorrupt:
        return DocumentCorrupt(
            f"the erasure list {self.path} is damaged: {what}; nothing was changed, so that no erased user is "
            "restored. Restore the list from a copy of the data directory"
        )
