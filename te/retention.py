"""The guide's default retention policy, and functions that remove or restore many reflections in a document's tree.

Each of these functions takes one pass over the sessions, regardless of the number of reflections.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Tree
from orbsite.storage.records.record import Key, Record
from orbsite.storage.retention.policy import Policy
from te.ownership import USERS, list_session, to_list
from te.records import Reflection

MAX_AGE_DAYS, MAX_PER_SESSION = 90.0, 1000
SESSIONS = "sessions"


def guides_policy(max_age_days: float = MAX_AGE_DAYS, max_per_session: int = MAX_PER_SESSION) -> Policy:
    """Return the policy that removes reflections above an age, and all but the newest ones of each session."""
    return Policy(max_age_days=max_age_days, max_per_session=max_per_session)


def places(tree: Tree, records: Iterable[Record]) -> dict[Key, int]:
    """Return the positions of reflections in their sessions."""
    positions: dict[Key, int] = {}
    for session, wanted in _by_session(records).items():
        content = tree[SESSIONS][session]
        keys = [item.key if isinstance(item, Reflection) else None for item in content]
        first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        positions.update((key, first[key]) for key in wanted if key in first)
    return positions


def drop_many(tree: Tree, records: Iterable[Record]) -> None:
    """Remove reflections and their equal copies, then empty sessions and their entries in `userSessions`."""
    emptied = set()
    for session, removed in _by_session(records).items():
        content = tree[SESSIONS][session]
        content[:] = [item for item in content if not _is_removed(item, removed)]
        if not content:
            del tree[SESSIONS][session]
            emptied.add(session)
    unlist_sessions(tree.get(USERS, {}), emptied)


def unlist_sessions(users: Tree, removed: set[str]) -> None:
    """Remove sessions from `userSessions`, then users without a session."""
    for user, listed in list(users.items()) if removed else ():
        if isinstance(listed, list) and not removed.isdisjoint(name for name in listed if isinstance(name, str)):
            users[user] = [name for name in listed if not (isinstance(name, str) and name in removed)]
            if not users[user]:
                del users[user]


def put_back(tree: Tree, records: Sequence[tuple[Record, int | None]]) -> None:
    """Insert reflections at their former positions in their sessions. Items that were added since may shift them."""
    positions = {record.key: position for record, position in records}
    sessions, users = tree.setdefault(SESSIONS, {}), tree.setdefault(USERS, {})
    for session, restored in _by_session(record for record, _ in records).items():
        returning = sorted(restored.values(), key=lambda record: _place(positions[record.key]))
        content = sessions.setdefault(session, [])
        content[:] = _merged(content, returning, positions)
        for owner in dict.fromkeys(record.owner for record in returning):
            for user in to_list(users, owner, session, content):
                list_session(users, user, session)


def _by_session(records: Iterable[Record]) -> dict[str, dict[Key, Reflection]]:
    sessions: dict[str, dict[Key, Reflection]] = {}
    for session, group in groupby((one for one in records if isinstance(one, Reflection)), attrgetter("session_id")):
        if session is not None:
            sessions.setdefault(session, {}).update({record.key: record for record in group})
    return sessions


def _is_removed(item: Any, removed: Mapping[Key, Record]) -> bool:
    record = removed.get(item.key) if isinstance(item, Reflection) else None
    return record is not None and (item is record or digest(item) == digest(record))


def _merged(content: Sequence[Any], returning: Sequence[Record], positions: Mapping[Key, int | None]) -> Iterator[Any]:
    rest, at = iter(content), 0
    for record in returning:
        position = positions[record.key]
        for item in rest if position is None else _some(rest, position - at):
            yield item
            at += 1
        yield record
        at += 1
    yield from rest


def _some(items: Iterator[Any], number: int) -> Iterator[Any]:
    for _ in range(number):
        try:
            yield next(items)
        except StopIteration:
            return


def _place(position: int | None) -> tuple[bool, int]:
    return position is None, position or 0
