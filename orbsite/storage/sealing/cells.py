"""The format of sealed texts in a database: short messages, each sealed with the data key of the user whose text it is.

A sealed text is a mark and, in Base64, the id of the data key, a nonce, and the text encrypted with AES-256-GCM. Where
it stands (table, column and key of the row) is authenticated with it, so that no text passes for another one. A plain
text that begins like a mark is stored behind a mark of its own.
"""

from __future__ import annotations

import binascii
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orbsite.storage.errors import DocumentCorrupt, KeyUnavailable
from orbsite.storage.sealing.keys import Key, KeyRing
from orbsite.storage.sealing.packed import pack, read_header, unpack

SEALED, PLAIN = "orb:sealed:1:", "orb:plain:1:"
MARKS = (SEALED, PLAIN)
_ID, _NONCE, _TAG, _SECRET = 8, 12, 16, 32


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key that seals the texts of one user."""

    id: str
    """8 random bytes in hex."""
    secret: bytes = field(repr=False)
    """32 random bytes."""
    _cipher: AESGCM = field(init=False, repr=False, compare=False)
    _begin: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cipher", AESGCM(self.secret))
        object.__setattr__(self, "_begin", bytes.fromhex(self.id))

    @classmethod
    def new(cls) -> DataKey:
        """Return a random key."""
        return cls(secrets.token_hex(_ID), secrets.token_bytes(_SECRET))

    def seal(self, text: str, name: str) -> str:
        """Return a sealed text; `name` says where it stands."""
        nonce = os.urandom(_NONCE)
        message = self._begin + nonce + self._cipher.encrypt(nonce, text.encode(), name.encode())
        return SEALED + binascii.b2a_base64(message, newline=False).decode()

    def open(self, message: bytes, name: str) -> str:
        """Return the text of a message from `message_in`.

        Raises DocumentCorrupt if the message was changed, or sealed for another place.
        """
        nonce = message[_ID : _ID + _NONCE]
        try:
            return self._cipher.decrypt(nonce, message[_ID + _NONCE :], name.encode()).decode()
        except (InvalidTag, ValueError) as problem:
            raise DocumentCorrupt("its sealed content was changed, or belongs in another place") from problem


def message_in(text: str) -> bytes:
    """Return the message of a sealed text. Raises DocumentCorrupt if it is damaged."""
    encoded = text.removeprefix(SEALED)
    try:
        message = binascii.a2b_base64(encoded, strict_mode=True)
    except (binascii.Error, ValueError) as problem:
        raise DocumentCorrupt("its sealed content is damaged") from problem
    is_whole = len(message) >= _ID + _NONCE + _TAG
    if not is_whole or binascii.b2a_base64(message, newline=False).decode() != encoded:
        raise DocumentCorrupt("its sealed content is damaged")
    return message


def key_in(message: bytes) -> bytes:
    """Return the id of the data key that sealed a message, as bytes."""
    return message[:_ID]


def escaped(text: str) -> str:
    """Return a plain text as it is stored."""
    return PLAIN + text if text.startswith(MARKS) else text


def wrapped(key: DataKey, user: str, master: Key) -> bytes:
    """Return a data key sealed with one of the installation's keys."""
    return pack(key.secret, _name(key.id, user), is_compressed=False, key=master)


def unwrapped(key_id: str, user: str, stored: bytes, ring: KeyRing | None) -> DataKey:
    """Return the data key that `wrapped` sealed. Raises KeyUnavailable without its key, DocumentCorrupt if changed."""
    try:
        secret = unpack(stored, _name(key_id, user), ring)
    except KeyUnavailable as problem:
        raise KeyUnavailable(f"the data key {key_id} cannot be opened: {problem}") from problem
    except DocumentCorrupt as problem:
        raise DocumentCorrupt(f"the data key {key_id} is damaged: {problem}") from problem
    if len(secret) != _SECRET:
        raise DocumentCorrupt(f"the data key {key_id} is damaged: it has {len(secret)} bytes")
    return DataKey(key_id, secret)


def wrapping_key_of(stored: bytes) -> str:
    """Return the id of the key that sealed a data key. Raises DocumentCorrupt."""
    return read_header(stored).key_id


def has_marks(texts: Iterable[object]) -> bool:
    """Tell whether one of these values is a text that begins with a mark."""
    return any(type(text) is str and text.startswith(MARKS) for text in texts)


def _name(key_id: str, user: str) -> str:
    return f"data key|{key_id}|{user}"
