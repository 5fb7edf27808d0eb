"""The content of a document in memory: its JSON tree with records in their places, and an index of the records."""

from __future__ import annotations

import contextlib
import gc
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from msgspec import structs

from orbsite.storage.base.preconditions import refuse_other_owner, refuse_unexpected
from orbsite.storage.base.store import alone, last_of_each
from orbsite.storage.encoding import json_parser
from orbsite.storage.encoding.json_printer import stringified, stringify
from orbsite.storage.errors import DocumentCorrupt, NewerVersion, RecordUnreadable
from orbsite.storage.findings import Unreadable, error, errors, printable, unreadable, warning
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.changes import Delete, Put, Step
from orbsite.storage.records.decoder import checked
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain, Entry, Layout, Span, Tree, flattened, plant
from orbsite.storage.records.record import Key, R, Record, key_getter, keys_of_all, own

_MAX_LISTED = 5
_MUCH = 4 << 20
"""The number of bytes whose records the garbage collector would walk over for so long that others wait noticeably."""


def entries(domain: Domain, data: bytes) -> Iterator[Entry]:
    """Return the entries of a document as its layout decodes them; an item with a repeated key is refused, or a copy.

    Raises DocumentCorrupt and NewerVersion before anything is returned, DocumentCorrupt with line and column if the
    document is not JSON.
    """
    return flattened(spans(domain, data))


def spans(domain: Domain, data: bytes) -> Iterator[Entry | Span]:
    """Return the entries of `entries`, those of long lists as spans where the layout decodes them so."""
    data, remarks = json_parser.without_bom(data)
    try:
        json_parser.check(data)
    except json_parser.MalformedJSON as problem:
        raise DocumentCorrupt(f"it is not valid JSON: {problem}") from problem
    decoded = domain.layout.decode_spans(data)
    try:
        opening = next(decoded)  # raises for errors in the document as a whole, before a caller acts on a part
    except NewerVersion as problem:
        raise problem.of(str(domain.file)) from problem
    return _first_of_each(domain, data, chain([Entry(place=(), findings=tuple(remarks)), opening], decoded))


def _first_of_each(domain: Domain, data: bytes, decoded: Iterable[Entry | Span]) -> Iterator[Entry | Span]:
    """Yield the entries; only hashes of keys are kept, and the document is decoded again if a hash repeats."""
    seen: set[int] = set()
    firsts: dict[tuple[type[Record], Key], Entry] | None = None
    for part in decoded:
        if isinstance(part, Span) and _are_new(part, seen):
            yield part
            continue
        for entry in flattened([part]):
            record = entry.record
            if record is None:
                yield entry
                continue
            kind = type(record)
            key_hash = hash((kind, key_getter(kind)(record)))
            if key_hash not in seen:
                seen.add(key_hash)
                yield entry
                continue
            if firsts is None:
                firsts = _repeated(domain, data)
            before = firsts.get((type(record), record.key), entry)
            yield entry if before.place == entry.place else _repetition(entry, record, before)


def _are_new(span: Span, seen: set[int]) -> bool:
    """Add the hashes of a span's keys to those that were seen, or return False if one of them repeats."""
    hashes = set(map(hash, zip(repeat(span.kind), keys_of_all(span.kind, span.records))))
    if len(hashes) < len(span.records) or not hashes.isdisjoint(seen):
        return False
    seen |= hashes
    return True


def _repeated(domain: Domain, data: bytes) -> dict[tuple[type[Record], Key], Entry]:
    """Return the first entry of each key that occurs more than once."""
    seen: set[int] = set()
    repeated: set[int] = set()
    for entry in domain.layout.decode(data):
        if entry.record is not None:
            key_hash = hash((type(entry.record), entry.record.key))
            (repeated if key_hash in seen else seen).add(key_hash)
    firsts: dict[tuple[type[Record], Key], Entry] = {}
    for entry in domain.layout.decode(data):
        if entry.record is not None and hash((type(entry.record), entry.record.key)) in repeated:
            firsts.setdefault((type(entry.record), entry.record.key), entry)
    return firsts


def _repetition(entry: Entry, record: Record, before: Entry) -> Entry:
    if before.record is not None and digest(before.record) == digest(record):
        finding = warning(entry.path, f"an equal copy of {before.path}; the first one counts")
        return structs.replace(entry, copy=True, findings=(*entry.findings, finding))
    finding = error(entry.path, f"its key is taken by another record at {before.path}, and the first one counts")
    return structs.replace(entry, record=None, value=record, key=record.key, findings=(*entry.findings, finding))


class TreeCopy:
    """A copy of a tree as it was when the copy began, made little by little while the tree changes."""

    def __init__(self, layout: Layout, tree: Tree) -> None:
        divided = layout.divided(tree)
        self._layout = layout
        self._members: Tree = dict(divided)
        if divided is tree:
            self.tree = self._members
        else:
            self.tree = {name: self._members if part is divided else _copied(part) for name, part in tree.items()}
        self._left = dict.fromkeys(self._members)

    def keep(self, records: Iterable[Record]) -> None:
        """Copy the members that a change of records is about to change."""
        for member in map(self._layout.member_of, records) if self._left else ():
            if member in self._left:
                del self._left[member]
                self._members[member] = _copied(self._members[member])

    def go_on(self, most: int) -> bool:
        """Copy more members, until they have had `most` items; tell whether all are copied."""
        while self._left and most > 0:
            member, _ = self._left.popitem()
            self._members[member] = copy = _copied(self._members[member])
            most -= 1 + (len(copy) if isinstance(copy, dict | list) else 0)
        return not self._left


class Content:
    """The content of a document. Each change updates the tree and the view, and is recorded as a step."""

    def __init__(self, domain: Domain, data: bytes | None) -> None:
        self._domain = domain
        self.tree: Tree = domain.layout.new_tree()
        self.view = MemoryStore(domain)
        self.invalid: list[Entry] = []
        """The items of the document that are not valid records."""
        self._copy: TreeCopy | None = None
        self._steps: list[Step] = []
        self._unreadable: dict[tuple[type[Record], Key], str] = {}
        self._covered: dict[tuple[type[Record], Key], str] = {}  # records whose key an earlier record has
        with no_collection():
            if data is not None and not self._load(data):
                self._decode(data)
            if data is not None and len(data) > _MUCH:
                gc.freeze()

    def _load(self, data: bytes) -> bool:
        loaded = self._domain.layout.decode_whole(data)
        if loaded is None:
            return False
        tree, records = loaded
        self.view.fill(records)
        if sum(map(self.view.count, self._domain.kinds)) < len(records):  # a key is repeated
            self.view = MemoryStore(self._domain)
            return False
        self.tree = tree
        return True

    def _decode(self, data: bytes) -> None:
        records = []
        for entry in entries(self._domain, data):
            if entry.place:
                plant(self.tree, entry.place, entry.value if entry.record is None else entry.record)
            if entry.record is not None and not entry.copy:
                records.append(entry.record)
            if entry.record is None and entry.kind is not None:
                self.invalid.append(entry)
            if entry.record is None and entry.kind is not None and entry.key is not None:
                known = self._covered if isinstance(entry.value, Record) else self._unreadable
                known.setdefault((entry.kind, entry.key), entry.path)
        self.view.fill(records)

    @property
    def refused(self) -> int:
        """The number of items of the document that are not valid records."""
        return len(self.invalid)

    def unreadable(
        self, kind: type[Record], where: Mapping[str, str], keys: Collection[Key] | None = None
    ) -> Iterator[Unreadable]:
        """Yield findings for items that do not decode and may match `where`; with `keys`, only for these keys."""
        for entry in self.invalid:
            is_wanted = keys is None or (entry.key is not None and entry.key in keys)
            if entry.kind is kind and is_wanted and entry.may_meet(where):
                wrong = "; ".join(f"{one.path}: {one.message}" for one in errors(entry.findings)[:_MAX_LISTED])
                what = (
                    f"{entry.path} in the file does not decode ({wrong}); run validate_orb_files, and repair the file"
                )
                yield unreadable(kind.plural, map(printable, entry.key or entry.places()), what)

    def encode(self) -> bytes:
        """Return the content as the bytes of a document."""
        with no_collection():
            return stringify(self._domain.layout.encode(self.tree))

    def begin_copy(self) -> TreeCopy:
        """Begin a copy of the tree as it is now. There is one copy at a time, and each change first copies its part."""
        self._copy = TreeCopy(self._domain.layout, self.tree)
        return self._copy

    def encode_copy(self, copy: TreeCopy, pause: Callable[[], None] = lambda: None) -> bytes:
        """Return the bytes of a document for a whole copy. `pause` is called often, to let other threads go on."""
        if self._copy is copy:
            self._copy = None
        printed = io.BytesIO()
        for piece in stringified(self._domain.layout.encode(copy.tree)):
            printed.write(piece)
            pause()
        return printed.getvalue()

    def take_steps(self) -> list[Step]:
        """Return the steps since the last call, and forget them."""
        steps, self._steps = self._steps, []
        return steps

    def replay(self, steps: Iterable[Step]) -> None:
        """Apply recorded steps again. Raises OrbError if the document has no place for a step any more."""
        for step in steps:
            if isinstance(step, Put):
                self.upsert([step.record], None)
            else:
                self.delete(step.kind, [self._whole(step.kind, step.key)], None)
        self._steps.clear()

    def _whole(self, kind: type[Record], key: Key) -> Key:
        """Return the full key for a journal's key: an earlier version left out the user, because ids were unique."""
        names = [name for name in kind.key_fields if name != "user_id"]
        if len(key) == len(kind.key_fields) or len(key) != len(names):
            return key
        found = self.view.find(kind, dict(zip(names, key, strict=True)))
        if len(found) > 1:
            raise DocumentCorrupt("a line of the journal removes an id that several users have, and names no user")
        return found[0].key if found else key

    def add(self, record: R) -> tuple[R, bool]:
        """Add a record, as `Store.add` does."""
        record = checked(self._domain.layout.in_file(self.tree, record))
        self._refuse_unreadable([record])
        kept = self.view.fetch(type(record), [record.key]).get(record.key)
        if kept is not None:
            refuse_other_owner(record, kept)
            return kept, False
        self._domain.layout.admit(self.tree, record)
        self._keep([record])
        self.view.put_checked([record], None)
        self._apply(record, None)
        return own(record), True

    def upsert(self, records: Iterable[Record], expect: str | None, *, free: bool = False) -> None:
        """Insert or replace records, as `Store.put` does."""
        wanted = last_of_each(map(self._as_in_file, records), expect, free=free)
        self._refuse_unreadable(wanted)
        self._refuse_to_uncover(wanted)
        for record in wanted:
            self._domain.layout.admit(self.tree, record)
        old = {(type(one), one.key): self.view.fetch(type(one), [one.key]).get(one.key) for one in wanted}
        self.view.put_checked(wanted, expect, free=free)
        self._keep([*wanted, *filter(None, old.values())])
        if not free:
            self._remove_moved(wanted, old)
        for record in wanted:
            before = old[type(record), record.key]
            if before is None or not free:
                self._apply(record, before)

    def delete(self, kind: type[Record], keys: Iterable[Key], user_id: str | None, expect: str | None = None) -> int:
        """Remove the records with these keys, as `Store.delete` does."""
        found = self.view.fetch(kind, alone(keys, expect), user_id=user_id)
        refuse_unexpected(next(iter(found.values()), None), expect)
        self._refuse_to_uncover(found.values(), is_deleted=True)
        self._keep(found.values())
        self._domain.layout.drop_many(self.tree, found.values())
        self._steps += [Delete(kind, key) for key in found]
        return self.view.delete(kind, found)

    def delete_where(self, kind: type[Record], where: Mapping[str, str]) -> int:
        """Remove the records whose fields equal these values, as `Store.delete_where` does."""
        return self.delete(kind, [record.key for record in self.view.find(kind, where)], None)

    def covering(self, kind: type[Record], keys: Iterable[Key]) -> set[Key]:
        """Return the keys that another item also has; that item would count if the record were removed."""
        return {key for key in keys if (kind, key) in self._covered} if self._covered else set()

    def places(self, records: Iterable[Record]) -> dict[Key, int]:
        """Return the positions of records in their lists, by key."""
        return self._domain.layout.places(self.tree, records)

    def drop_many(self, kind: type[Record], records: Sequence[Record]) -> None:
        """Remove records in one pass; the caller must exclude the keys that `covering` returns."""
        keys = list(keys_of_all(kind, records))
        self._keep(records)
        self._domain.layout.drop_many(self.tree, records)
        self.view.drop_many(kind, keys)
        self._steps += [Delete(kind, key) for key in keys]

    def put_back(self, records: Sequence[tuple[Record, int | None]]) -> None:
        """Restore records at their positions in one pass; their keys must be free."""
        self._keep(record for record, _ in records)
        self._domain.layout.put_back(self.tree, records)
        self.view.take(record for record, _ in records)
        self._steps += [Put(record) for record, _ in records]

    def in_its_place(self, record: Record) -> str:
        """Return the path of an item that does not decode and has the record's key, empty if there is none."""
        return self._unreadable.get((type(record), record.key), "")

    def in_its_way(self, record: Record) -> str:
        """Return the name of an unreadable part that leaves no place for a record, empty if there is a place."""
        try:
            self._domain.layout.admit(self.tree, record)
        except RecordUnreadable:
            return "the list for it"
        return ""

    def _keep(self, records: Iterable[Record]) -> None:
        if self._copy is not None:
            self._copy.keep(records)

    def _as_in_file(self, record: Record) -> Record:
        return self._domain.layout.in_file(self.tree, record)

    def _apply(self, record: Record, old: Record | None) -> None:
        self._domain.layout.apply(self.tree, record, old)
        self._steps.append(Put(record))

    def _remove_moved(self, wanted: Iterable[Record], old: dict[tuple[type[Record], Key], Record | None]) -> None:
        """Remove records that move to another list from their old lists, in one pass."""
        moved = []
        for record in wanted:
            before = old[type(record), record.key]
            if before is not None and record.moves_from(before):
                moved.append(before)
                old[type(record), record.key] = None
        if moved:
            self._domain.layout.drop_many(self.tree, moved)

    def _refuse_unreadable(self, records: Iterable[Record]) -> None:
        for record in records if self._unreadable else ():
            path = self._unreadable.get((type(record), record.key))
            if path is not None and not self.view.fetch(type(record), [record.key]):
                raise RecordUnreadable(
                    f"{path} holds an item that does not decode, and it was left unchanged; "
                    "run validate_orb_files to see why, and repair it"
                )

    def _refuse_to_uncover(self, records: Iterable[Record], *, is_deleted: bool = False) -> None:
        """Refuse to remove or move a record if another item has its key, because that item would replace it."""
        for record in records if self._covered else ():
            path = self._covered.get((type(record), record.key))
            old = self.view.fetch(type(record), [record.key]).get(record.key)
            if path is not None and old is not None and (is_deleted or record.moves_from(old)):
                raise RecordUnreadable(
                    f"{path} holds another item with the key of this record, which would take this record's place; "
                    "nothing was written. Repair the file by hand: run validate_orb_files to see both items"
                )


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) if isinstance(item, dict | list) else item for key, item in value.items()}
    return list(value) if isinstance(value, list) else value  # what a list holds is replaced and never changed


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Turn off garbage collection in the block: for many objects without cycles it takes as long as creating them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
