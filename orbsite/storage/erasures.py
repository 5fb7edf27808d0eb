"""The erasure list: whose data was erased, and when. It holds salted hashes, and no id.

`.orb/erasures` under the data directory has one line for each erasure, with a checksum of itself as in a journal; the
database has the same list in a table. The list has a moment and bans nobody: what a user saves later is new.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from orbsite.storage import journal
from orbsite.storage.directory import Directory
from orbsite.storage.document import naming_the_setting
from orbsite.storage.envelope import Plain
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.fsops import OS, FileSystem
from orbsite.storage.lock import locked
from orbsite.storage.record import Record
from orbsite.storage.replace import failing_whole, prepared
from orbsite.storage.tombstones import OWN

ERASURES = "erasures"
ERASED = "its user was erased since"
"""Why what was removed does not come back."""
VERSION = 1
_SALT_BYTES = 32
_LOCK_TIMEOUT = 20.0


class Erasure(msgspec.Struct, frozen=True, order=True):
    """One erasure: the moment, and the HMAC-SHA256 of the user's id under a random salt, both in hex."""

    at: datetime
    salt: str
    digest: str


def new_salt() -> str:
    """Return a random salt, in hex."""
    return secrets.token_hex(_SALT_BYTES)


def digest_of(user: str, salt: str) -> str:
    """Return the hash of a user's id, in hex."""
    return hmac.digest(bytes.fromhex(salt), user.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()


def moment_in(record: Record) -> datetime | None:
    """Return the time that a record carries itself: of its version, or when it was made; None where it carries none."""
    for name in (record.version_field, record.time_field, "updated_at"):
        moment = getattr(record, name, None) if name else None
        if isinstance(moment, datetime):
            return moment
    return None


class ErasureList:
    """Some erasures, asked by the id of a user; false where there are none."""

    def __init__(self, erasures: Iterable[Erasure] = ()) -> None:
        self.erasures = frozenset(erasures)
        self._moments: dict[str, dict[str, datetime]] = {}
        self._known: dict[str, datetime | None] = {}
        for one in sorted(self.erasures):
            self._moments.setdefault(one.salt, {})[one.digest] = one.at

    def __bool__(self) -> bool:
        return bool(self.erasures)

    def moment(self, user: str | None) -> datetime | None:
        """Return when a user was erased last; None where never. Each id is hashed once."""
        if not self.erasures or not user:
            return None
        if user not in self._known:
            found = (moments.get(digest_of(user, salt)) for salt, moments in self._moments.items())
            self._known[user] = max((one for one in found if one is not None), default=None)
        return self._known[user]

    def covers(self, record: Record, *, is_dated: Callable[[str], bool] = lambda _: False) -> datetime | None:
        """Return when the data that a record holds was erased, None where the record is new, or never was erased.

        A record without a time of its own is new where `is_dated` tells that its user has newer records beside it.
        """
        moment = self.moment(record.user_id)
        if moment is None:
            return None
        told = moment_in(record)
        is_new = is_dated(record.owner) if told is None else told > moment
        return None if is_new else moment


class ErasureFile:
    """The erasure list under a data directory."""

    def __init__(self, base: Path, fs: FileSystem = OS) -> None:
        self._base, self._fs = base, fs

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._base / OWN / ERASURES

    def read(self) -> frozenset[Erasure]:
        """Return the erasures, none where there is no file. Raises DocumentCorrupt where a line is damaged."""
        try:
            with naming_the_setting(self._base), Directory.open(self._base, self._fs) as base, base.enter(OWN) as own:
                data = own.read(ERASURES)
        except FileNotFoundError:
            return frozenset()
        return frozenset(self._lines(data or b""))

    def add(self, erasures: Iterable[Erasure]) -> None:
        """Add erasures, durably; those that are there already stay as they are. Raises DocumentCorrupt, SaveFailed."""
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
                journal.closed(Plain(), {"erasures": VERSION, "seq": number, **msgspec.to_builtins(one)})
                for number, one in enumerate(lines, 1)
            )
            with prepared(own, ERASURES, data) as successor:
                successor.take_over()

    def _lines(self, data: bytes) -> Iterable[Erasure]:
        *kept, rest = data.split(b"\n")
        for number, one in enumerate(kept, 1):
            text = journal.opened(one, Plain())
            line: dict[str, Any] = {} if text is None else msgspec.json.decode(text)
            if line.get("erasures", VERSION) != VERSION:
                raise DocumentCorrupt(f"{self.path} was written by a newer program; use that. Nothing was changed")
            if line.get("seq") != number:
                raise self._damaged(f"line {number} is not what was written")
            yield msgspec.convert(line, Erasure, strict=False)
        if rest:
            raise self._damaged("its end is missing")

    def _damaged(self, what: str) -> DocumentCorrupt:
        return DocumentCorrupt(
            f"the erasure list {self.path} is damaged: {what}; nothing was changed, so that nobody comes back. "
            "Put it back from a copy of the data directory"
        )
