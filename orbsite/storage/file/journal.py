"""The journal of a document: the saves since the document was written, one JSON line for each save.

The first line has the journal's name and the digest of the document that it is based on. Every line has a checksum of
itself, which tells a torn end after a crash from damage: no good line follows a torn end.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.sealing.envelope import LINE_STARTS, Envelope

VERSION = 2
_SUM = b',"sum":"'
_SUM_LENGTH = 32


class FoldedDocument(msgspec.Struct, frozen=True):
    """The document that a fold has written, as its file's status shows it under any name."""

    inode: int
    size: int
    modified: int
    """The time of its last change, in nanoseconds since the epoch."""
    generation: int = 0

    @classmethod
    def of(cls, status: os.stat_result, generation: int) -> FoldedDocument:
        """Return what a status shows."""
        return cls(status.st_ino, status.st_size, status.st_mtime_ns, generation)

    def is_of(self, status: os.stat_result) -> bool:
        """Tell whether a file is this document, unchanged."""
        return self == FoldedDocument.of(status, self.generation)


class Predecessor(msgspec.Struct, frozen=True):
    """The journal that a journal goes on with, after a fold."""

    journal: str
    until: int
    """The number of its last line that is in the document; the line after it is the first one of the new journal."""


class JournalEntry(msgspec.Struct):
    """One line of a journal."""

    journal: str
    """The journal's random name; a line with another name is not part of the journal."""
    seq: int
    """The line's number, 0 for the first line, without gaps."""
    version: int | None = None
    base: str | None = None
    """On the first line: the SHA-256 of the document that the journal is based on."""
    steps: list[msgspec.Raw] = []
    follows: Predecessor | None = None
    """On the first line of a journal that a fold has begun."""
    fold: str | None = None
    """The SHA-256 of the new document, which contains all saves up to this line, or up to the line `until`."""
    until: int | None = None
    document: FoldedDocument | None = None
    """On the first line and on a fold's line, if the fold was made while saves went on."""
    sum: str = ""


_decoder = msgspec.json.Decoder(JournalEntry)
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Journal:
    """The part of a journal that was read or written so far."""

    name: str
    base: str
    head: bytes
    """The first line."""
    last: bytes
    """The last good line; while it is still at its offset, the lines before it are unchanged."""
    seq: int = 0
    end: int = 0
    """The offset in the file at which the next line begins."""

    def line(self, envelope: Envelope, **content: Any) -> bytes:
        """Return the next line, with its line feed."""
        return closed(envelope, {"journal": self.name, "seq": self.seq + 1, **content})

    def took(self, line: bytes) -> None:
        """Record that a line was written or read at the end."""
        self.seq, self.end, self.last = self.seq + 1, self.end + len(line), line


@dataclass(slots=True)
class Scan:
    """The result of reading a journal's bytes."""

    journal: Journal | None
    """None if the first line is incomplete or damaged."""
    head: JournalEntry | None = None
    """The first line, if it was read."""
    lines: list[JournalEntry] = field(default_factory=list)
    rest: bytes = b""
    """The bytes after the last good line: a line that is still being written, or a torn end."""
    damage: str | None = None
    """A description of the damage, if good lines follow bad ones."""
    salvage: list[JournalEntry] = field(default_factory=list)
    """Good lines after the damage."""

    def folded_into(self, document: str) -> int | None:
        """Return how many lines the document with this SHA-256 contains already, None if it is another document."""
        if self.journal is None:
            return 0
        folded = last_fold(self.lines, document)  # first, because a fold may write the bytes of the base again
        return folded or (0 if document == self.journal.base else None)

    def is_partly_folded_into(self, document: str) -> bool:
        """Tell whether the document with this SHA-256 was folded while saves went on, so that the journal goes on."""
        folds = [line for line in self.lines if line.fold == document]
        return bool(folds) and folds[-1].until is not None


def last_fold(lines: Sequence[JournalEntry], document: str) -> int:
    """Return the number of lines that the document with this SHA-256 contains by the last fold, 0 if there is none."""
    folds = [line.seq if line.until is None else line.until for line in lines if line.fold == document]
    last = max(folds, default=0)
    return sum(line.seq <= last for line in lines)


def begun(envelope: Envelope, base: str, **after: Any) -> Journal:
    """Return a new journal based on the document with the SHA-256 `base`; the caller writes its first line.

    After a fold, `after` has the values of `follows` and `document`.
    """
    name = secrets.token_hex(4)
    head = closed(envelope, {"journal": name, "seq": 0, "version": VERSION, "base": base, **after})
    return Journal(name, base, head, head, end=len(head))


def scan(data: bytes, envelope: Envelope) -> Scan:
    """Read a whole journal. Raises DocumentCorrupt if a newer version of the program wrote it."""
    head, _, _ = data.partition(b"\n")
    first = _parsed(head, envelope) if b"\n" in data else None
    if first is not None and first.version is not None and first.version > VERSION:
        raise DocumentCorrupt(
            f"the journal has format {first.version}, and this program knows {VERSION}; run the newer program"
        )
    if first is None or first.base is None or first.seq:
        return _stopped(Scan(None), data, 0, envelope)
    journal = Journal(first.journal, first.base, head + b"\n", head + b"\n", end=len(head) + 1)
    result = follow(journal, data[journal.end :], envelope)
    result.head = first
    return result


def scan_after(data: bytes, known: Callable[[JournalEntry], int | None], envelope: Envelope) -> Scan:
    """Read a journal without its first lines; `known` returns for its head how many of them are known.

    The scan has no journal if `known` returns None or if there are not so many lines.
    """
    end = data.find(b"\n") + 1
    result = scan(data[:end], envelope)
    count = None if result.head is None else known(result.head)
    if result.journal is None or count is None or count < 0:
        return Scan(None)
    start = 0
    for _ in range(count):
        start, end = end, data.find(b"\n", end) + 1
        if not end:
            return Scan(None)
    last = data[start:end]
    line = _parsed(last[:-1], envelope)
    if line is None or (line.journal, line.seq) != (result.journal.name, count):
        return Scan(None)
    result.journal.seq, result.journal.end, result.journal.last = count, end, last
    after = follow(result.journal, data[end:], envelope)
    after.head = result.head
    return after


def follow(journal: Journal, data: bytes, envelope: Envelope) -> Scan:
    """Read the bytes after the known end of a journal, and move that end."""
    result, position = Scan(journal), 0
    while (feed := data.find(b"\n", position)) >= 0:
        line = _parsed(data[position:feed], envelope)
        if line is None or line.journal != journal.name or line.seq != journal.seq + 1:
            break
        journal.took(data[position : feed + 1])
        result.lines.append(line)
        position = feed + 1
    return _stopped(result, data, position, envelope)


def _stopped(result: Scan, data: bytes, position: int, envelope: Envelope) -> Scan:
    """Read the bytes after the last good line; if they contain a good line, the line before it is damaged."""
    result.rest = data[position:]
    result.salvage = list(_good_lines(result.rest, envelope))
    if result.salvage:
        number = result.journal.seq + 2 if result.journal else 1
        result.damage = f"line {number} is damaged or missing, and good lines follow it"
    return result


def _good_lines(rest: bytes, envelope: Envelope) -> Iterator[JournalEntry]:
    for piece in rest.split(b"\n")[:-1]:
        for start in _starts(piece):
            line = _parsed(piece[start:], envelope)
            if line is not None:
                yield line
                break


def _starts(piece: bytes) -> Iterable[int]:
    """Yield the offsets in a piece at which a line may begin: its start, or later if a line feed was damaged."""
    yield 0
    for begin in LINE_STARTS:
        at = piece.find(begin, 1)
        while at > 0:
            yield at
            at = piece.find(begin, at + 1)


def closed(envelope: Envelope, content: dict[str, Any]) -> bytes:
    """Return a line as it is stored, with its checksum and its line feed."""
    try:
        body = _encode(content)[:-1]
    except OverflowError:  # an integer beyond 64 bits
        body = compact(content)[:-1]
    return envelope.close_line(body + _SUM + _sum(body) + b'"}') + b"\n"


def opened(kept: bytes, envelope: Envelope) -> bytes | None:
    """Return the JSON of a stored line without its line feed, or None if its checksum is wrong or missing."""
    try:
        text = envelope.open_line(kept)
    except DocumentCorrupt:
        return None
    body, sign, end = text[: -_SUM_LENGTH - len(_SUM) - 2], text[-_SUM_LENGTH - len(_SUM) - 2 :], text[-2:]
    is_whole = sign.startswith(_SUM) and end == b'"}' and sign[len(_SUM) : -2] == _sum(body)
    return text if is_whole else None


def _parsed(kept: bytes, envelope: Envelope) -> JournalEntry | None:
    """Return a stored line, decoded, or None if it is damaged."""
    try:
        text = opened(kept, envelope)
        return None if text is None else _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _sum(body: bytes) -> bytes:
    return sha256(body).hexdigest()[:_SUM_LENGTH].encode()
