"""How long reflections are kept, as the guide says unless somebody says otherwise; and many of them at once in a tree.

What is done here to a document's tree takes one pass, however many reflections go or come back.
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
    """Return the policy by which what is older goes, and what is beyond the newest so many of a session."""
    return Policy(max_age_days=max_age_days, max_per_session=max_per_session)


def places(tree: Tree, records: Iterable[Record]) -> dict[Key, int]:
    """Return where in their sessions reflections stand."""
    found: dict[Key, int] = {}
    for session, wanted in _by_session(records).items():
        content = tree[SESSIONS][session]
        keys = [item.key if isinstance(item, Reflection) else None for item in content]
        first = dict(zip(reversed(keys), range(len(keys) - 1, -1, -1), strict=True))
        found.update((key, first[key]) for key in wanted if key in first)
    return found


def drop_many(tree: Tree, records: Iterable[Record]) -> None:
    """Take reflections and their equal copies out; sessions in which nothing is left go too, and their listings."""
    gone = set()
    for session, doomed in _by_session(records).items():
        content = tree[SESSIONS][session]
        content[:] = [item for item in content if not _is_doomed(item, doomed)]
        if not content:
            del tree[SESSIONS][session]
            gone.add(session)
    unlist_sessions(tree.get(USERS, {}), gone)


def unlist_sessions(users: Tree, gone: set[str]) -> None:
    """Take sessions that are gone out of the index, and users for whom none is listed then."""
    for user, listed in list(users.items()) if gone else ():
        if isinstance(listed, list) and not gone.isdisjoint(one for one in listed if isinstance(one, str)):
            users[user] = [name for name in listed if not (isinstance(name, str) and name in gone)]
            if not users[user]:
                del users[user]


def put_back(tree: Tree, records: Sequence[tuple[Record, int | None]]) -> None:
    """Put reflections back at their places in their sessions, as far as others have not moved since."""
    positions = {record.key: position for record, position in records}
    sessions, users = tree.setdefault(SESSIONS, {}), tree.setdefault(USERS, {})
    for session, found in _by_session(record for record, _ in records).items():
        returning = sorted(found.values(), key=lambda record: _place(positions[record.key]))
        content = sessions.setdefault(session, [])
        content[:] = _merged(content, returning, positions)
        for owner in dict.fromkeys(record.owner for record in returning):
            for user in to_list(users, owner, session, content):
                list_session(users, user, session)


def _by_session(records: Iterable[Record]) -> dict[str, dict[Key, Reflection]]:
    found: dict[str, dict[Key, Reflection]] = {}
    for session, some in groupby((one for one in records if isinstance(one, Reflection)), attrgetter("session_id")):
        if session is not None:
            found.setdefault(session, {}).update({record.key: record for record in some})
    return found


def _is_doomed(item: Any, doomed: Mapping[Key, Record]) -> bool:
    record = doomed.get(item.key) if isinstance(item, Reflection) else None
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
