"""Records with future times: their number, the newest of them, and whether this machine's clock must be wrong.

A client whose clock is ahead writes records with future times. Retention keeps them, and evaluates all other records as
usual. If most of the newest records have future times, and belong to more than one user if there are several users,
this machine's clock must have gone back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from operator import attrgetter

from orbsite.storage.records.record import Key, Record

NEWEST = 100
"""The number of newest records that are examined."""
LISTED = 10
"""The number of records with future times that are listed."""
_FEWEST = 2
"""The number of records with future times from which the clock may be wrong."""


@dataclass(frozen=True, slots=True)
class Dated:
    """The key, the user and the time of a record."""

    key: Key
    user: str
    moment: datetime


@dataclass(frozen=True, slots=True)
class Future:
    """The records of one kind with future times."""

    number: int = 0
    some: Sequence[Dated] = ()
    """The newest of these records, the newest first, at most 10."""
    is_widespread: bool = False
    """Whether they show that this machine's clock is wrong."""


def future(newest: Sequence[Dated], since: datetime, number: int, *, has_users: bool) -> Future:
    """Evaluate the newest records; times after `since` are future times.

    `number` is the number of all records with future times; `has_users` says whether there are several users.
    """
    ahead = [record for record in newest if record.moment > since]
    are_most = len(ahead) >= _FEWEST and 2 * len(ahead) > len(newest)
    users = {record.user for record in ahead}
    return Future(number, ahead[:LISTED], are_most and (len(users) > 1 or not has_users))


def future_of(kind: type[Record], records: Collection[Record], since: datetime | None) -> Future:
    """Return the records with times after `since`; none if `since` is None."""
    moment_of = attrgetter(kind.time_field or "")
    ahead = [] if since is None else [record for record in records if moment_of(record) > since]
    if since is None or not ahead:
        return Future()
    newest = [Dated(record.key, record.owner, moment_of(record)) for record in nlargest(NEWEST, records, key=moment_of)]
    return future(newest, since, len(ahead), has_users=_are_several(record.owner for record in records))


def _are_several(users: Iterable[str]) -> bool:
    first = None
    for user in users:
        if first is not None and user != first:
            return True
        first = user
    return False
