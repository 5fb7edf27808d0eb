"""The journal of a document: what was saved since the document was written, a line a save, readable by a person.

The first line names the journal and the document that it stands on. Every line carries a checksum of itself, so that
an end that was torn off by a crash is told from damage: after a torn end nothing good follows.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.file.envelope import Envelope

VERSION = 1
_BEGIN = b'{"journal":'
_SUM = b',"sum":"'
_SUM_LENGTH = 32


class JournalEntry(msgspec.Struct):
    """One line, as it is written but for its checksum."""

    journal: str
    """The journal's random name: a line from another one does not count."""
    seq: int
    """0 for the first line, then one more with each."""
    version: int | None = None
    base: str | None = None
    """On the first line: the SHA-256 of the document that the journal stands on."""
    steps: list[msgspec.Raw] = []
    fold: str | None = None
    """The SHA-256 of the document that is to replace the one before, with everything up to here in it."""
    sum: str = ""


_decoder = msgspec.json.Decoder(JournalEntry)
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Journal:
    """A journal as far as it was read."""

    name: str
    base: str
    head: bytes
    """The first line."""
    last: bytes
    """The last good line: while it stands where it stood, what was read before it is still the same."""
    seq: int = 0
    end: int = 0
    """Where in the file the next line goes."""

    def line(self, envelope: Envelope, **content: Any) -> bytes:
        """Return the next line, with its end."""
        return closed(envelope, {"journal": self.name, "seq": self.seq + 1, **content})

    def took(self, line: bytes) -> None:
        """Note that a line was written at the end."""
        self.seq, self.end, self.last = self.seq + 1, self.end + len(line), line


@dataclass(slots=True)
class Scan:
    """What a journal's bytes hold."""

    journal: Journal | None
    """None where not even the first line is whole."""
    lines: list[JournalEntry] = field(default_factory=list)
    rest: bytes = b""
    """What follows the last good line: an end that is not written yet, or was torn off."""
    damage: str | None = None
    """What is wrong, where good lines follow bad ones."""
    salvage: list[JournalEntry] = field(default_factory=list)
    """Good lines after the damage."""

    def folded_into(self, document: str) -> int | None:
        """Return how many lines a document of this SHA-256 holds already, or None where it is another document."""
        if self.journal is None or document == self.journal.base:
            return 0
        return last_fold(self.lines, document) or None


def last_fold(lines: Sequence[JournalEntry], document: str) -> int:
    """Return how many lines there are up to the last fold into a document of this SHA-256, 0 where there is none."""
    return max((number for number, line in enumerate(lines, 1) if line.fold == document), default=0)


def begun(envelope: Envelope, base: str) -> Journal:
    """Return a new journal that stands on a document; its first line is yet to be written."""
    name = secrets.token_hex(4)
    head = closed(envelope, {"journal": name, "seq": 0, "version": VERSION, "base": base})
    return Journal(name, base, head, head, end=len(head))


def scan(data: bytes, envelope: Envelope) -> Scan:
    """Return what a whole journal holds. Raises DocumentCorrupt where a newer version of the program wrote it."""
    head, _, _ = data.partition(b"\n")
    first = _parsed(head, envelope) if b"\n" in data else None
    if first is not None and first.version not in (None, VERSION):
        raise DocumentCorrupt(
            f"the journal has format {first.version}, and this program knows {VERSION}; run the newer program"
        )
    if first is None or first.base is None or first.seq:
        return _stopped(Scan(None), data, 0, envelope)
    journal = Journal(first.journal, first.base, head + b"\n", head + b"\n", end=len(head) + 1)
    return follow(journal, data[journal.end :], envelope)


def follow(journal: Journal, data: bytes, envelope: Envelope) -> Scan:
    """Return what the bytes after the known end of a journal hold, and move that end."""
    found, position = Scan(journal), 0
    while (feed := data.find(b"\n", position)) >= 0:
        line = _parsed(data[position:feed], envelope)
        if line is None or line.journal != journal.name or line.seq != journal.seq + 1:
            break
        journal.took(data[position : feed + 1])
        found.lines.append(line)
        position = feed + 1
    return _stopped(found, data, position, envelope)


def _stopped(found: Scan, data: bytes, position: int, envelope: Envelope) -> Scan:
    """Look at what follows the last good line: where anything in it is good, what came before was damaged."""
    found.rest = data[position:]
    found.salvage = list(_good_lines(found.rest, envelope))
    if found.salvage:
        number = found.journal.seq + 2 if found.journal else 1
        found.damage = f"line {number} is damaged or missing, and good lines follow it"
    return found


def _good_lines(rest: bytes, envelope: Envelope) -> Iterator[JournalEntry]:
    for piece in rest.split(b"\n")[:-1]:
        for start in _starts(piece):
            line = _parsed(piece[start:], envelope)
            if line is not None:
                yield line
                break


def _starts(piece: bytes) -> Iterable[int]:
    """Return where in a piece a line may begin: at its start, or where the end of the line before it was damaged."""
    yield 0
    at = piece.find(_BEGIN, 1)
    while at > 0:
        yield at
        at = piece.find(_BEGIN, at + 1)


def closed(envelope: Envelope, content: dict[str, Any]) -> bytes:
    """Return a line as it is kept, with its checksum and its end."""
    try:
        body = _encode(content)[:-1]
    except OverflowError:  # an integer beyond 64 bits
        body = compact(content)[:-1]
    return envelope.close_line(body + _SUM + _sum(body) + b'"}') + b"\n"


def opened(kept: bytes, envelope: Envelope) -> bytes | None:
    """Return the JSON of a line that was kept without its end, or None where it is not whole."""
    try:
        text = envelope.open_line(kept)
    except DocumentCorrupt:
        return None
    body, sign, end = text[: -_SUM_LENGTH - len(_SUM) - 2], text[-_SUM_LENGTH - len(_SUM) - 2 :], text[-2:]
    is_whole = sign.startswith(_SUM) and end == b'"}' and sign[len(_SUM) : -2] == _sum(body)
    return text if is_whole else None


def _parsed(kept: bytes, envelope: Envelope) -> JournalEntry | None:
    """Return a line that is whole, or None."""
    try:
        text = opened(kept, envelope)
        return None if text is None else _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _sum(body: bytes) -> bytes:
    return sha256(body).hexdigest()[:_SUM_LENGTH].encode()
