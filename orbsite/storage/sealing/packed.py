"""The format of compressed and sealed bytes.

A message is a header and a payload. The header has the magic number `ORBE`, the version, flags and the payload's size.
A sealed message also has the key's id and check, a salt, a nonce, and if it is a document, its generation; another
message has a CRC-32. A sealed payload is
encrypted with AES-256-GCM under a key that is derived for this message alone (HKDF-SHA256); the header and the logical
name of what is sealed are authenticated with it, so that one message does not pass for another.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass
from enum import IntFlag
from zlib import crc32

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orbsite.storage.errors import DocumentCorrupt, DocumentRefused, KeyUnavailable
from orbsite.storage.sealing.compression import compress, decompress
from orbsite.storage.sealing.keys import CHECK_SIZE, Key, KeyRing

MAGIC = b"ORBE"
VERSION = 1
_SALT, _NONCE, _TAG = 32, 12, 16
_START = struct.Struct(">4sBB")
_SIZE = struct.Struct(">Q")
_NUMBER = struct.Struct(">Q")
_CHECKSUM = struct.Struct(">I")
_MOST = 2**31 - 1
"""Bytes that AES-GCM seals at once."""
_PURPOSE = b"orb sealed message "


class Flags(IntFlag):
    """What was done to the payload."""

    COMPRESSED = 1
    SEALED = 2
    NUMBERED = 4


_ALL = Flags.COMPRESSED | Flags.SEALED | Flags.NUMBERED


@dataclass(frozen=True, slots=True)
class Header:
    """The decoded header of a message, and its bytes."""

    flags: Flags
    key_id: str
    """Empty if the message is not sealed."""
    check: bytes
    salt: bytes
    nonce: bytes
    data: bytes
    generation: int = 0
    """How often the document was written before, and once more; 0 if the message has no number."""


def is_packed(data: bytes) -> bool:
    """Tell whether bytes begin like a message, and not like a line of a journal that holds one."""
    return data.startswith(MAGIC) and data[len(MAGIC) : len(MAGIC) + 1] != b" "


def pack(data: bytes, name: str, *, is_compressed: bool, key: Key | None, generation: int = 0) -> bytes:
    """Return the message with these bytes. `name` is the logical name of what they are, which `unpack` needs.

    A sealed message has the `generation`, if that is not 0.

    Raises DocumentRefused for more bytes than can be sealed at once.
    """
    frame = compress(data) if is_compressed else None
    payload = data if frame is None else frame
    flags = Flags(0) if frame is None else Flags.COMPRESSED
    if key is None:
        header = _START.pack(MAGIC, VERSION, flags) + _SIZE.pack(len(payload))
        return header + _CHECKSUM.pack(crc32(payload, crc32(header))) + payload
    if len(payload) > _MOST:
        raise DocumentRefused(f"{name} has {len(payload):,} bytes, and at most {_MOST:,} can be sealed; use SQL")
    salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    key_id = key.id.encode()
    flags |= Flags.SEALED | (Flags.NUMBERED if generation else Flags(0))
    number = _NUMBER.pack(generation) if generation else b""
    header = b"".join([
        _START.pack(MAGIC, VERSION, flags), bytes([len(key_id)]), key_id, key.check, salt, nonce, number,
        _SIZE.pack(len(payload) + _TAG),
    ])  # fmt: skip
    return header + _cipher(key, salt, name).encrypt(nonce, payload, header + name.encode())


def unpack(message: bytes, name: str, keys: KeyRing | None) -> bytes:
    """Return the bytes of a message.

    Raises DocumentCorrupt if it was cut, changed, or sealed under another name, and KeyUnavailable without its key.
    """
    header = read_header(message)
    payload = memoryview(message)[len(header.data) :]
    if Flags.SEALED in header.flags:
        if keys is None:
            raise KeyUnavailable(
                f"it is sealed with the key {header.key_id!r}, and no key is configured; nothing was changed. "
                "Set ORB_KEYS or ORB_KEY_FILE"
            )
        key = keys.find(header.key_id, header.check)
        try:
            opened = _cipher(key, header.salt, name).decrypt(header.nonce, payload, header.data + name.encode())
        except InvalidTag as problem:
            raise DocumentCorrupt("its sealed content was changed, or belongs in another place") from problem
    else:
        opened = bytes(payload[_CHECKSUM.size :])
        if payload[: _CHECKSUM.size] != _CHECKSUM.pack(crc32(opened, crc32(header.data))):
            raise DocumentCorrupt("its compressed content was changed")
    return decompress(opened) if Flags.COMPRESSED in header.flags else opened


def read_header(message: bytes) -> Header:
    """Return the header of a message. Raises DocumentCorrupt if it is damaged, or the message is cut or too long."""
    try:
        magic, version, number = _START.unpack_from(message)
        if magic != MAGIC:
            raise DocumentCorrupt("it is no sealed or compressed file")
        if version != VERSION:
            raise DocumentCorrupt(f"it has format {version}, and this program knows {VERSION}; use the newer program")
        if number > _ALL or (number & Flags.NUMBERED and not number & Flags.SEALED):
            raise DocumentCorrupt("the flags of its header are damaged")
        at, key_id, check, salt, nonce, generation = _START.size, "", b"", b"", b"", 0
        if number & Flags.SEALED:
            length = message[at]
            parts = struct.Struct(f"{length}s{CHECK_SIZE}s{_SALT}s{_NONCE}s")
            kid, check, salt, nonce = parts.unpack_from(message, at + 1)
            key_id, at = kid.decode("ascii"), at + 1 + parts.size
        if number & Flags.NUMBERED:
            (generation,) = _NUMBER.unpack_from(message, at)
            at += _NUMBER.size
        (size,) = _SIZE.unpack_from(message, at)
    except (struct.error, IndexError, UnicodeDecodeError) as problem:
        raise DocumentCorrupt("the header of its envelope is damaged") from problem
    at += _SIZE.size
    rest = len(message) - at - (0 if number & Flags.SEALED else _CHECKSUM.size)
    if rest != size:
        raise DocumentCorrupt(f"it has {rest:,} bytes of content, and its header says {size:,}")
    return Header(Flags(number), key_id, check, salt, nonce, bytes(message[:at]), generation)


def _cipher(key: Key, salt: bytes, name: str) -> AESGCM:
    return AESGCM(key.derived(salt, _PURPOSE + name.encode()))
