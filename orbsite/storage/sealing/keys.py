"""The keys that seal data, and where they come from.

A key provider is a class whose instances have one method, `keys`, which returns the keys: the first one seals, and all
of them open. ORB_KEY_PROVIDER names another one, for a key management service.
"""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from orbsite.storage.errors import InvalidKeys, KeyUnavailable

SIZE = 32
"""Bytes of a key."""
CHECK_SIZE = 8
_LARGEST_FILE = 1024 * 1024
_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)
_CHECK = b"orb key check"


@dataclass(frozen=True, slots=True)
class Key:
    """A key with its id, which is stored with everything that it seals."""

    id: str
    secret: bytes = field(repr=False)
    """32 random bytes."""
    check: bytes = field(init=False, repr=False)
    """Bytes derived from the key, by which another key with the same id is recognized."""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise InvalidKeys("the id of a key has 1 to 32 letters, digits, dots, hyphens or underscores")
        if len(self.secret) != SIZE:
            raise InvalidKeys(f"the key {self.id} has {len(self.secret)} bytes instead of {SIZE}")
        object.__setattr__(self, "check", self.derived(b"", _CHECK, CHECK_SIZE))

    def derived(self, salt: bytes, purpose: bytes, size: int = SIZE) -> bytes:
        """Return a key derived from this one with HKDF-SHA256."""
        return HKDF(SHA256(), size, salt, purpose).derive(self.secret)


class KeyRing:
    """The keys of an installation: the first one seals, and all of them open."""

    def __init__(self, keys: Sequence[Key]) -> None:
        """Raises InvalidKeys if there is no key, or one occurs twice."""
        if not keys:
            raise InvalidKeys("there is no key")
        self.active = keys[0]
        self._keys = {key.id: key for key in keys}
        if len(self._keys) < len(keys):
            raise InvalidKeys("two keys have the same id")
        if len({key.secret for key in keys}) < len(keys):
            raise InvalidKeys("two ids have the same key")

    def find(self, key_id: str, check: bytes) -> Key:
        """Return the key that sealed something. Raises KeyUnavailable if it is missing, or another one has its id."""
        key = self._keys.get(key_id)
        if key is None:
            raise KeyUnavailable(
                f"it is sealed with the key {key_id!r}, which is not among the keys; nothing was changed. "
                "Add that key to ORB_KEYS or to the file that ORB_KEY_FILE names"
            )
        if key.check != check:
            raise KeyUnavailable(
                f"it is sealed with another key than the one that has the id {key_id!r} here; nothing was changed. "
                "Put the right key into ORB_KEYS or into the file that ORB_KEY_FILE names"
            )
        return key


class KeyProvider(Protocol):
    """Returns the keys of an installation."""

    def keys(self) -> Sequence[Key]:
        """Return the keys, the one that seals first; none if nothing is sealed. Raises InvalidKeys."""


class KeysFromText:
    """Keys of an environment variable: `ID:BASE64`, separated by commas or white space."""

    def __init__(self, text: str) -> None:
        self._text = text

    def keys(self) -> list[Key]:
        """Return the keys. Raises InvalidKeys."""
        return [_key(one) for one in re.split(r"[\s,]+", self._text) if one]


class KeysFromFile:
    """Keys of a file of the mode 0600: one `ID:BASE64` on each line; lines that begin with `#` are comments."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def keys(self) -> list[Key]:
        """Return the keys. Raises InvalidKeys."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as problem:
            raise InvalidKeys(f"the key file {self._path} cannot be read: {problem.strerror}") from problem
        try:
            self._refuse_open_file(os.fstat(descriptor))
            lines = os.read(descriptor, _LARGEST_FILE).decode("ascii").splitlines()
        except UnicodeDecodeError as problem:
            raise InvalidKeys(f"the key file {self._path} has bytes that are not ASCII") from problem
        finally:
            os.close(descriptor)
        keys = [_key(line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not keys:
            raise InvalidKeys(f"the key file {self._path} has no key")
        return keys

    def _refuse_open_file(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise InvalidKeys(f"the key file {self._path} is not a regular file")
        if status.st_uid != os.geteuid():
            raise InvalidKeys(f"the key file {self._path} belongs to another user; make it your own")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise InvalidKeys(f"other users can access the key file {self._path}; run: chmod 600 {self._path}")


def _key(text: str) -> Key:
    """Return the key of `ID:BASE64`. The message of an error never contains the text, which is a secret."""
    key_id, sign, encoded = text.partition(":")
    if not sign:
        raise InvalidKeys("a key is written as ID:BASE64, with 32 random bytes in Base64")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except ValueError as problem:
        raise InvalidKeys("the part of a key after its id is not Base64") from problem
    return Key(key_id, secret)
