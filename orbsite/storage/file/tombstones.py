"""Tombstones of data removed from files, kept until the undo window ends: one file for each run.

`.orb/tombstones/NAME.jsonl` under the data directory has a first line, a line with a reason for each removed record or
part, and a last line, each with a checksum of itself as in a journal. A file is written completely and durably, or not
at all.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.errors import DocumentCorrupt, DocumentError
from orbsite.storage.file import journal
from orbsite.storage.file.document import OWN, naming_the_setting
from orbsite.storage.filesystem.atomic_replace import failing_whole, forget, temporary_name
from orbsite.storage.filesystem.directory import Directory, numbered
from orbsite.storage.filesystem.syscalls import OS, FileSystem
from orbsite.storage.records.changes import Put, StepReader, as_json
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Record, holds_texts_alone
from orbsite.storage.sealing.envelope import Packing

TOMBSTONES, SUFFIX = "tombstones", ".jsonl"
VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}\Z")
_CHUNK = 1 << 20


def tombstone(
    domain: Domain,
    record: Record | None,
    *,
    reason: str,
    path: str = "",
    position: int | None = None,
    original: str | None = None,
    **about: str,
) -> dict[str, Any]:
    """Return the line for a record, as its step in a journal, or for another part of a document, as its JSON.

    `path` is its place in the document, `position` its place in its list; `about` has further fields of the line.
    """
    step = {} if record is None else _step(record)
    return {
        "domain": domain.name,
        **step,
        "reason": reason,
        "path": path,
        "position": position,
        "original": original,
        **about,
    }


def _step(record: Record) -> dict[str, Any]:
    """Return the step that puts a record; a record of texts only is left for the line's encoder."""
    if record.extra is None and holds_texts_alone(type(record)):
        return {"put": type(record).plural, "record": record}
    return as_json(Put(record))


def record_of(domain: Domain, line: dict[str, Any]) -> Record | None:
    """Return the record in a line of this domain, or None if it holds another part. Raises DocumentCorrupt."""
    if line.get("put") is None:
        return None
    step = {name: line[name] for name in ("put", "record", "extra") if name in line}
    for read in StepReader(domain).read([msgspec.Raw(compact(step))]):
        return read.record if isinstance(read, Put) else None
    return None


class Tombstones:
    """The tombstone files under a data directory."""

    def __init__(self, base: Path, packing: Packing | None = None, fs: FileSystem = OS) -> None:
        self.path = base / OWN / TOMBSTONES
        self._base, self._fs = base, fs
        self._envelope = (packing or Packing()).envelope(TOMBSTONES)

    def write(self, name: str, lines: Iterable[dict[str, Any]]) -> Path:
        """Write a tombstone file and return its path; if the name is taken, a number is added to it.

        The caller must remove nothing before this has returned. Raises SaveFailed; no file is then written.
        """
        self._refuse_unless_plain(name)
        with (
            failing_whole(self.path / name),
            naming_the_setting(self._base),
            Directory.make(self._base, self._fs) as base,
            base.enter_or_make(OWN) as own,
            own.enter_or_make(TOMBSTONES) as directory,
        ):
            temporary = temporary_name(f"{name}{SUFFIX}")
            try:
                self._fill(directory, temporary, lines)
                written = directory.rename_to_free(temporary, numbered(name, SUFFIX))
            except BaseException:
                forget(directory, temporary)
                raise
            directory.sync()
            return self.path / written

    def read(self, name: str) -> Iterator[dict[str, Any]]:
        """Return the checked lines of a file. Raises DocumentError if it does not exist, DocumentCorrupt for damage."""
        self._refuse_unless_plain(name)
        try:
            with Directory.open(self.path, self._fs) as directory:
                data = directory.read(f"{name}{SUFFIX}")
        except FileNotFoundError:
            data = None
        if data is None:
            raise DocumentError(f"there is no {self.path / name}{SUFFIX}; name one of: {', '.join(self.names())}")
        return iter([line for line in self._lines(name, data) if "domain" in line])

    def filter(self, name: str, is_kept: Callable[[dict[str, Any]], bool]) -> int:
        """Keep the lines of a file for which `is_kept` is true, and return how many were removed.

        A file without lines is removed. Raises DocumentError, DocumentCorrupt for damage, and SaveFailed; the file is
        then unchanged.
        """
        lines = list(self.read(name))
        kept = [line for line in lines if is_kept(line)]
        if len(kept) == len(lines):
            return 0
        with failing_whole(self.path / name), Directory.open(self.path, self._fs).claimed() as directory:
            if kept:
                temporary = temporary_name(f"{name}{SUFFIX}")
                try:
                    self._fill(directory, temporary, kept)
                    self._fs.rename(temporary, f"{name}{SUFFIX}", directory.descriptor)
                except BaseException:
                    forget(directory, temporary)
                    raise
            else:
                self._fs.unlink(f"{name}{SUFFIX}", directory.descriptor)
            directory.sync()
        return len(lines) - len(kept)

    def names(self) -> list[str]:
        """Return the names of all tombstone files, sorted."""
        try:
            with Directory.open(self.path, self._fs) as directory:
                names = directory.names()
        except FileNotFoundError:
            return []
        return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX) and _NAME.match(name))

    def _fill(self, directory: Directory, temporary: str, lines: Iterable[dict[str, Any]]) -> None:
        descriptor = self._fs.create(temporary, directory.descriptor)
        try:
            chunk = bytearray()
            for line in self._written(lines):
                chunk += line
                if len(chunk) >= _CHUNK:
                    directory.write_all(descriptor, bytes(chunk))
                    chunk.clear()
            directory.write_all(descriptor, bytes(chunk))
            self._fs.sync(descriptor)
        finally:
            directory.close(descriptor)

    def _written(self, lines: Iterable[dict[str, Any]]) -> Iterator[bytes]:
        name, number = secrets.token_hex(4), 0
        yield journal.closed(self._envelope, {"tombstones": name, "seq": 0, "version": VERSION})
        for number, line in enumerate(lines, 1):
            yield journal.closed(self._envelope, {"tombstones": name, "seq": number, **line})
        yield journal.closed(self._envelope, {"tombstones": name, "seq": number + 1, "end": True})

    def _lines(self, name: str, data: bytes) -> Iterator[dict[str, Any]]:
        head: dict[str, Any] = {}
        line: dict[str, Any] = {}
        kept = data.split(b"\n")
        for number, stored in enumerate(kept[:-1]):
            text = journal.opened(stored, self._envelope)
            line = {} if text is None else msgspec.json.decode(text)
            head = head or line
            if head.get("version", VERSION) != VERSION:
                raise DocumentCorrupt(
                    f"{self.path / name}{SUFFIX} was written by a newer program; read it with that program"
                )
            if line.get("seq") != number or line.get("tombstones") != head.get("tombstones"):
                raise self._damaged(name, f"line {number + 1} is not what was written")
            yield {key: value for key, value in line.items() if key not in ("tombstones", "seq", "sum")}
        if kept[-1] or "end" not in line:
            raise self._damaged(name, "its end is missing")

    def _damaged(self, name: str, what: str) -> DocumentCorrupt:
        return DocumentCorrupt(
            f"{self.path / name}{SUFFIX} is damaged: {what}; nothing was restored. Restore the file from a backup"
        )

    def _refuse_unless_plain(self, name: str) -> None:
        if not _NAME.match(name):
            raise DocumentError(f"{name!r} is not a tombstone file's name; name one of: {', '.join(self.names())}")
