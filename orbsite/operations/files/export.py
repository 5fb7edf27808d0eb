"""Exports the records of a store as files in the guide's layout, of all users or of one."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from orbsite.operations.files.upgrade import in_version
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.storage.base.snapshot import Kept, Snapshot, snapshots
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.errors import DocumentRefused
from orbsite.storage.findings import Finding
from orbsite.storage.records.record import Extra, Id, Instant, R, Record, declared, field_names, plain
from orbsite.storage.records.versions import MARKED, UNMARKED
from orbsite.stores import file_store

COLUMNS = ("exported", "rejected")
IN_MEMORY = 8 << 20
"""About how many bytes of values memory holds while a document is printed in parts."""
_SHARE = 128
"""A value larger than this share of the limit is never held in memory."""
_SMALL = 64
"""Values up to this size are always held in memory."""
_MARK = re.compile(rb'"\\u0000([0-9]+)\\u0000"')


def export(
    stores: list[Store],
    to: Path,
    *,
    user: str | None = None,
    overwrite: bool = False,
    schema_version: int | None = None,
    progress: Progress = silent,
) -> Report:
    """Write a file for each store under a directory, each as a whole or not at all. The files are private.

    With `schema_version` the files are of that version, and what it cannot hold is listed; without it, they state no
    version, and records have the form in which they are stored. Raises DocumentRefused where a file exists; with
    `overwrite` it is replaced, and its old version stays beside it as .prev. Raises OrbError where there is no such
    version.
    """
    for store in stores:
        if schema_version is not None and store.domain.versions is not None:
            store.domain.versions.refuse_unknown(schema_version)
    targets = [file_store(store.domain, to) for store in stores]
    for target in targets:
        if not overwrite and target.snapshot() is not None:
            raise DocumentRefused(
                f"{to / target.domain.file} already exists; choose another directory, or use --overwrite"
            )
    report = Report(columns=COLUMNS)
    progress.tells_of(report)
    with snapshots(stores, user) as taken:
        for snapshot, target in zip(taken, targets, strict=True):
            section = report.section_of(snapshot.domain)
            target.replace(document_of(snapshot, section=section, progress=progress, version=schema_version))
    return report


def document_of(
    snapshot: Snapshot,
    *,
    section: Section | None = None,
    progress: Progress = silent,
    version: int | None = None,
) -> bytes:
    """Return the document of a snapshot, in a schema version if one is given.

    A row that does not decode becomes a finding and counts as rejected.
    """
    versions = None if version is None else snapshot.domain.versions
    form = UNMARKED if versions is None else versions.newest  # the newest version holds everything
    parts = parts_of_document(snapshot, section=section, progress=progress, in_memory=sys.maxsize, version=form)
    data = b"".join(parts)
    if version is None or versions is None or version == versions.newest:
        return data
    return in_version(snapshot.domain, data, version, section)


def parts_of_document(
    snapshot: Snapshot,
    *,
    section: Section | None = None,
    progress: Progress = silent,
    in_memory: int = IN_MEMORY,
    version: int = UNMARKED,
) -> Iterator[bytes]:
    """Yield the document of a snapshot in parts. Large values are read again when they are printed.

    A row that does not decode is logged where there is no section for its finding. Records keep the form in which they
    are stored, except in a document that states its `version`, for which all values must be in memory.
    """
    layout, values = snapshot.domain.layout, LargeValues(snapshot, in_memory)
    tree, versions = layout.new_tree(version), snapshot.domain.versions if version >= MARKED else None
    for kind in snapshot.domain.kinds:
        findings: list[Finding] | None = None if section is None else []
        for record in _in_order(snapshot, kind, values, findings):
            layout.apply(tree, record if versions is None else versions.upcast(record), None)
            if section is not None:
                section.count(kind.plural, "exported")
            progress(1)
        if section is not None and findings:
            section.count(kind.plural, "rejected", len(findings))
            section.findings += findings
    printed = stringify(layout.encode(tree))
    del tree
    yield from values.filled_in(printed)


def _in_order(
    snapshot: Snapshot, kind: type[Record], values: LargeValues, findings: list[Finding] | None
) -> Iterator[Record]:
    """Yield records in the order of their lists; records that no file held come last, in their own order."""
    found = snapshot.records(kind, findings)
    placed = [(one.position is None, one.position or 0, values.without(one)) for one in found]
    placed.sort(key=lambda one: one[:2])  # stable: records of one position keep their order
    return (record for _, _, record in placed)


class LargeValues:
    """The large values of records. Memory holds a marker for each, until the value is printed.

    A marker begins with NUL, which no record holds.
    """

    def __init__(self, snapshot: Snapshot, in_memory: int) -> None:
        self._snapshot, self._left, self._most = snapshot, in_memory, in_memory
        self._places: list[tuple[type[Record], Any, str, str | None]] = []

    def without(self, kept: Kept[R]) -> R:
        """Return a record with markers for its large values; for smaller ones too, once the limit is used up."""
        kind, record = type(kept.record), kept.record
        large = {
            name: self._mark(kind, kept.at, name, None)
            for name, _ in field_names(kind)
            if name not in _never(kind) and self._is_large(getattr(record, name))
        }
        extra = record.extra and Extra(
            (name, self._mark(kind, kept.at, "extra", name) if self._is_large(item) else item)
            for name, item in record.extra.items()
        )
        return structs.replace(record, extra=extra, **large) if large or extra else record

    def filled_in(self, printed: bytes) -> Iterator[bytes]:
        """Yield the printed document with the values in the places of their markers."""
        at = 0
        for match in _MARK.finditer(printed):
            yield printed[at : match.start()]
            yield self._printed(int(match[1]), _indent(printed, match.start()))
            at = match.end()
        yield printed[at:]

    def _is_large(self, value: Any) -> bool:
        size = _size(value)
        limit = self._most // _SHARE if self._left > 0 else _SMALL
        if size > limit:
            return True
        self._left -= size
        return False

    def _mark(self, kind: type[Record], at: Any, name: str, key: str | None) -> str:
        self._places.append((kind, at, name, key))
        return f"\x00{len(self._places) - 1}\x00"

    def _printed(self, number: int, indent: bytes) -> bytes:
        kind, at, name, key = self._places[number]
        value = getattr(self._snapshot.again(kind, at), name)
        printed = stringify(plain(value if key is None else value[key], spell))
        return printed.replace(b"\n", b"\n" + indent)


@cache
def _never(kind: type[Record]) -> frozenset[str]:
    """Return the fields that layouts read. They are small and stay in memory."""
    return frozenset(name for name, hint in declared(kind).items() if hint in (Id, Instant))


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, datetime) or value is None:
        return 0
    if isinstance(value, tuple) and all(type(item) is str for item in value):
        return sum(map(len, value)) + 8 * len(value)
    return len(msgspec.json.encode(value))


def _indent(printed: bytes, at: int) -> bytes:
    """Return the indentation of the line at a position."""
    line = printed[printed.rfind(b"\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(b" "))]
