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

import msgspec

from orbsite.storage.records.record import Record

ERASED = "its user was erased since"
"""Why what was removed does not come back."""
_SALT_BYTES = 32


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
