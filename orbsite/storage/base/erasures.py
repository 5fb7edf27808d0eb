"""The erasure list: the users whose data was erased, and when. It holds salted hashes and no user ids.

`.orb/erasures` under the data directory has one line for each erasure, with a checksum of that line as in a journal;
the database has the same list in a table. An erasure covers data up to its time. Data that a user saves later is new.
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
"""The reason that is reported when a removed record is not restored."""
_SALT_BYTES = 32


class Erasure(msgspec.Struct, frozen=True, order=True):
    """One erasure: its time, and the HMAC-SHA256 of the user's id under a random salt, both in hex."""

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
    """Return the time in a record's own fields: of its version, or of its creation; None if it has no such field."""
    for name in (record.version_field, record.time_field, "updated_at"):
        moment = getattr(record, name, None) if name else None
        if isinstance(moment, datetime):
            return moment
    return None


class ErasureList:
    """A set of erasures that is looked up by user id. An empty list is false."""

    def __init__(self, erasures: Iterable[Erasure] = ()) -> None:
        self.erasures = frozenset(erasures)
        self._moments: dict[str, dict[str, datetime]] = {}
        self._known: dict[str, datetime | None] = {}
        for erasure in sorted(self.erasures):
            self._moments.setdefault(erasure.salt, {})[erasure.digest] = erasure.at

    def __bool__(self) -> bool:
        return bool(self.erasures)

    def moment(self, user: str | None) -> datetime | None:
        """Return the time of a user's last erasure, None if the user was never erased. Each id is hashed once."""
        if not self.erasures or not user:
            return None
        if user not in self._known:
            moments = (by_digest.get(digest_of(user, salt)) for salt, by_digest in self._moments.items())
            self._known[user] = max((moment for moment in moments if moment is not None), default=None)
        return self._known[user]

    def covers(self, record: Record, *, is_dated: Callable[[str], bool] = lambda _: False) -> datetime | None:
        """Return the time of the erasure that covers a record, None if no erasure covers it.

        A record without a time of its own counts as new if `is_dated` says that its user has newer records beside it.
        """
        moment = self.moment(record.user_id)
        if moment is None:
            return None
        record_time = moment_in(record)
        is_new = is_dated(record.owner) if record_time is None else record_time > moment
        return None if is_new else moment
