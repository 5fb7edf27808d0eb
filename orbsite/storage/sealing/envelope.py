"""The envelope around the stored bytes of documents, journal lines and tombstones: plain, compressed or sealed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from orbsite.runtime.home import program
from orbsite.storage.errors import DocumentCorrupt, KeyUnavailable, NotSealed
from orbsite.storage.sealing.keys import KeyRing
from orbsite.storage.sealing.packed import MAGIC, is_packed, pack, read_header, unpack

IN_BACKUP = "backup"
"""The first part of the logical name of a backup's document, which does not pass for the document in use."""
LINE = MAGIC + b" "
"""The beginning of a stored line that is sealed or compressed; the message follows in Base64."""
LINE_STARTS = (b'{"journal":', LINE)
"""The bytes with which a stored line of a journal may begin."""
_LEAST = 512
"""Bytes from which a line is worth compressing."""


class Packing:
    """How an installation stores bytes: compressed or not, and sealed if there are keys.

    What is stored in another form is recognized when it is read. With keys, plain bytes are refused unless
    `allows_plain` is set, because sealed data could otherwise be replaced by plain data without notice.
    """

    def __init__(
        self,
        *,
        is_compressed: bool = False,
        keys: KeyRing | None = None,
        allows_plain: bool = False,
        seals: bool = True,
    ) -> None:
        """Without `seals`, the keys only open what is sealed already."""
        self.is_compressed, self.keys = is_compressed, keys
        self.active = keys.active if keys is not None and seals else None
        self.allows_plain = allows_plain or keys is None

    @property
    def form(self) -> str:
        """The form of what is stored now, as `form_of` returns it."""
        if self.active is not None:
            return f"key {self.active.id}"
        return "compressed" if self.is_compressed else "plain"

    def envelope(self, name: str) -> Envelope:
        """Return the envelope for what has this logical name, such as `luna/profiles`."""
        return Envelope(name, self)


class Envelope:
    """Wraps bytes for the disk in the form of a packing: a document as a whole, a journal line by line.

    Sealed bytes open only under the logical name that they were sealed under.
    """

    def __init__(self, name: str, packing: Packing) -> None:
        self._name, self._packing = name, packing
        self._key = packing.active

    def close(self, data: bytes, generation: int = 0) -> bytes:
        """Return the bytes to store for a document's bytes; sealed ones have the `generation`, if that is not 0."""
        if self._key is None and not self._packing.is_compressed:
            return data
        is_compressed = self._packing.is_compressed
        return pack(data, self._name, is_compressed=is_compressed, key=self._key, generation=generation)

    def open(self, kept: bytes) -> bytes:
        """Return the document's bytes for stored bytes.

        Raises DocumentCorrupt if they were changed, KeyUnavailable without their key, and NotSealed.
        """
        if is_packed(kept):
            return self._unpacked(kept, self._name)
        self._refuse_plain()
        return kept

    def contents(self, kept: bytes) -> Iterator[bytes]:
        """Yield the contents of a file that is stored as a whole or line by line. Raises the same errors as `open`."""
        if kept.startswith(LINE):
            yield from (self.open_line(line) for line in kept.split(b"\n") if line)
        else:
            yield self.open(kept)

    def close_line(self, line: bytes) -> bytes:
        """Return the bytes to store for a line without its line feed; they contain no line feed either."""
        is_compressed = self._packing.is_compressed and len(line) >= _LEAST
        if self._key is None and not is_compressed:
            return line
        return LINE + base64.b64encode(pack(line, self._name_of_line, is_compressed=is_compressed, key=self._key))

    def open_line(self, kept: bytes) -> bytes:
        """Return the line for stored bytes. Raises the same errors as `open`."""
        if not kept.startswith(LINE):
            if kept.startswith(b"{"):
                self._refuse_plain()
            return kept
        return self._unpacked(_message_in(kept), self._name_of_line)

    @property
    def _name_of_line(self) -> str:
        return f"{self._name}#line"

    def _unpacked(self, message: bytes, name: str) -> bytes:
        try:
            return unpack(message, name, self._packing.keys)
        except KeyUnavailable as problem:
            raise KeyUnavailable(f"{self._name} cannot be read: {problem}") from problem

    def _refuse_plain(self) -> None:
        if not self._packing.allows_plain:
            raise NotSealed(
                f"{self._name} is not sealed, although keys are configured; nothing was read or changed. "
                f"If it is yours, run: {program()} seal_orb_data --apply"
            )


def generation_of(stored: bytes) -> int:
    """Return the generation of a sealed document, 0 for other files. Raises DocumentCorrupt."""
    return read_header(stored).generation if is_packed(stored) else 0


def form_of(stored: bytes) -> str:
    """Return the form of a file or a line: `plain`, `compressed`, or `key ID`. Raises DocumentCorrupt."""
    message = _message_in(stored) if stored.startswith(LINE) else stored
    if not is_packed(message):
        return "plain"
    header = read_header(message)
    return f"key {header.key_id}" if header.key_id else "compressed"


def _message_in(line: bytes) -> bytes:
    encoded = line[len(LINE) :]
    try:
        message = base64.b64decode(encoded, validate=True)
    except binascii.Error as problem:
        raise DocumentCorrupt("a sealed or compressed line is damaged") from problem
    if base64.b64encode(message) != encoded:  # a decoder ignores the last bits of a text that it has no use for
        raise DocumentCorrupt("a sealed or compressed line is damaged")
    return message


PLAIN = Packing().envelope("plain")
"""Stores bytes unchanged, and reads compressed ones."""
