"""Records from the future: how many there are, which, and whether they say that this machine's clock is wrong.

One client whose clock runs ahead writes records that are dated in the future. They stay, and keep nothing else from
being judged. Where most of the newest records are from the future, and of more than one user where there are several,
it is this machine's clock that must have jumped back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from operator import attrgetter

from orbsite.storage.records.record import Key, Record

NEWEST = 100
"""So many of the newest records are looked at."""
LISTED = 10
"""So many records from the future are named."""
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Dated:
    """A record by its key, its user and its moment."""

    key: Key
    user: str
    moment: datetime


@dataclass(frozen=True, slots=True)
class Future:
    """What is from the future of one kind."""

    number: int = 0
    some: Sequence[Dated] = ()
    """The newest of them, the newest first."""
    is_widespread: bool = False
    """Whether they are evidence against this machine's clock."""


def future(newest: Sequence[Dated], since: datetime, number: int, *, has_users: bool) -> Future:
    """Return what the newest records say of the future, which begins at `since`.

    `number` is how many records are from the future in all; `has_users` tells whether there are several users.
    """
    ahead = [one for one in newest if one.moment > since]
    are_most = len(ahead) >= _FEWEST and 2 * len(ahead) > len(newest)
    users = {one.user for one in ahead}
    return Future(number, ahead[:LISTED], are_most and (len(users) > 1 or not has_users))


def future_of(kind: type[Record], records: Collection[Record], since: datetime | None) -> Future:
    """Return what is from the future of some records; nothing where no moment begins it."""
    moment_of = attrgetter(kind.time_field or "")
    ahead = [] if since is None else [one for one in records if moment_of(one) > since]
    if since is None or not ahead:
        return Future()
    newest = [Dated(one.key, one.owner, moment_of(one)) for one in nlargest(NEWEST, records, key=moment_of)]
    return future(newest, since, len(ahead), has_users=_are_several(one.owner for one in records))


def _are_several(users: Iterable[str]) -> bool:
    first = None
    for user in users:
        if first is not None and user != first:
            return True
        first = user
    return False
