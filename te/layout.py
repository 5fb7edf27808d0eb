"""The layout of `te/reflections.json`: reflections by session, and which user used which session.

A reflection on disk carries no user. `userSessions` lists who used a session; where that leaves the owner open, an
item says `userId`, and only there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import structs

from orbsite.storage.domain import Entry, Tree
from orbsite.storage.errors import DocumentCorrupt, RecordUnreadable
from orbsite.storage.finding import ROOT, Finding, error, errors, path_to, step, warning
from orbsite.storage.javascript import key_order
from orbsite.storage.jsontext import count_keys, repeated_keys
from orbsite.storage.reader import Piece, Reader, items, keys_in, keys_of, members, peek
from orbsite.storage.record import Extra, Id, Record, digest
from orbsite.storage.walk import Walk, name_of
from te.records import Reflection

NOBODY = "default-user"
"""Who owns what stands in a session that no user is listed for."""

_SESSIONS = "sessions"
_USERS = "userSessions"


class ReflectionsLayout:
    """`{"sessions": {"<sessionId>": [{...}]}, "userSessions": {"<userId>": ["<sessionId>"]}}`."""

    def __init__(self) -> None:
        self._reader = Reader(Reflection)

    def decode(self, data: bytes) -> Iterator[Entry]:
        """Yield each session, in it each reflection, and whatever else stands in the document."""
        parts = members(msgspec.Raw(data))
        if parts is None:
            raise DocumentCorrupt("expected an object with sessions and userSessions", ROOT)
        sessions, index = _object(parts, _SESSIONS), _object(parts, _USERS)
        listed = {user: peek(piece) for user, piece in index.items()}
        users = _users_of(listed)
        keys = len(parts) + len(sessions) + count_keys(listed)
        for name, part in parts.items():
            if name == _USERS:
                yield Entry(place=(_USERS,), value=listed, findings=tuple(_index_findings(listed)))
            elif name != _SESSIONS:
                keys += keys_in(part)
                yield Entry(place=(name,), value=part)
            else:
                yield Entry(place=(_SESSIONS,), value={})
                for session, content in sessions.items():
                    for entry, count in self._session(session, content, users.get(session, [])):
                        keys += count
                        yield entry
        yield Entry(place=(), findings=tuple(repeated_keys(data, keys)))

    def put(self, tree: Tree, record: Record, old: Record | None) -> None:
        """Put a reflection at the end of its session, or where the one it replaces stood."""
        if not isinstance(record, Reflection) or record.session_id is None:
            raise TypeError(record)
        if isinstance(old, Reflection) and old.session_id != record.session_id:
            self.drop(tree, old)
            old = None
        content = _content(tree, record.session_id)
        _list_user(tree, record, content)
        if old is None:
            content.append(record)
        else:
            _swap(content, old, [record])

    def drop(self, tree: Tree, record: Record) -> None:
        """Take a reflection out; a session in which nothing is left goes too, and with it whoever is listed for it."""
        session = record.session_id if isinstance(record, Reflection) else None
        content = tree[_SESSIONS][session]
        _swap(content, record, [])
        if content:
            return
        del tree[_SESSIONS][session]
        users = tree.get(_USERS, {})
        for user in [user for user, listed in users.items() if isinstance(listed, list) and session in listed]:
            users[user] = [name for name in users[user] if name != session]
            if not users[user]:
                del users[user]

    def encode(self, tree: Tree) -> Any:
        """Return the tree as it stands in the file."""
        users = _users_of(tree.get(_USERS, {}))
        printed = dict(tree)
        printed[_SESSIONS] = {
            session: _items_as_json(content, users.get(session, [])) if isinstance(content, list) else content
            for session, content in tree.get(_SESSIONS, {}).items()
        }
        printed.setdefault(_USERS, {})
        return printed

    def _session(self, session: str, piece: Piece, users: list[str]) -> Iterator[tuple[Entry, int]]:
        place = (_SESSIONS, session)
        found = _id_problems(session, path_to(place))
        whole = None if found else self._reader.read_many(piece)
        if whole is not None and all(record.session_id is None for record in whole):
            yield Entry(place=place, value=[]), sum(map(keys_of, whole))
            for index, record in enumerate(whole):
                yield _owned(record, (*place, index), users, []), 0
            return
        content = items(piece)
        if content is None:
            message = f"expected a list, got {name_of(piece)}"
            refused = Entry(place=place, value=piece, kind=Reflection, findings=(error(path_to(place), message),))
            yield refused, keys_in(piece)
            return
        yield Entry(place=place, value=[]), 0
        for index, item in enumerate(content):
            yield self._item(item, (*place, index), users, found)

    def _item(
        self, piece: Piece, place: tuple[str, str, int], users: list[str], found: list[Finding]
    ) -> tuple[Entry, int]:
        path = path_to(place)
        reading = self._reader.read(piece, path)
        findings = found + reading.findings
        record, keys = reading.record, reading.keys
        if record is not None and record.session_id not in (None, place[1]):
            findings.append(error(step(path, "sessionId"), "the item names another session than the one it stands in"))
        if record is None or errors(findings):
            return _refused(piece, place, findings), keys
        if record.session_id is not None:  # it says what its place says already: kept, as it was read
            record = structs.replace(record, extra=Extra({**(record.extra or {}), "sessionId": place[1]}))
        return _owned(record, place, users, findings), keys


def _owned(record: Reflection, place: tuple[str, str, int], users: list[str], findings: list[Finding]) -> Entry:
    """Return the entry of a record that nobody else has seen yet, with its session, and its owner as far as known."""
    structs.force_setattr(record, "session_id", place[1])
    owners: tuple[str, ...] = ()
    if record.user_id is None:
        structs.force_setattr(record, "user_id", users[0] if users else NOBODY)
        if len(users) != 1:
            owners = tuple(users)
            findings = [*findings, warning(path_to(place), _ownership(users))]
    return Entry(
        place=place, record=record, kind=Reflection, position=place[2], owners=owners, findings=tuple(findings)
    )


def _refused(piece: Piece, place: tuple[str, str, int], findings: list[Finding]) -> Entry:
    value = peek(piece)
    name = value.get("id") if isinstance(value, dict) else None
    key = (name,) if isinstance(name, str) else None
    return Entry(place=place, value=piece, kind=Reflection, key=key, position=place[2], findings=tuple(findings))


def _ownership(users: list[str]) -> str:
    if not users:
        return f"no user is listed for the session; taken as a reflection of {NOBODY}"
    return f"{len(users)} users share the session; taken as a reflection of the first one listed"


def _object(parts: dict[str, Piece], name: str) -> dict[str, Piece]:
    part = members(parts.get(name, {}))
    if part is None:
        raise DocumentCorrupt(f"expected an object, got {name_of(parts[name])}", step(ROOT, name))
    return part


def _users_of(listed: Tree) -> dict[str, list[str]]:
    """Return the users of each session, in the order in which JavaScript goes through the index."""
    users: dict[str, list[str]] = {}
    for user in key_order(listed):
        sessions = listed[user] if isinstance(listed[user], list) else []
        if not _id_problems(user, ""):
            for session in dict.fromkeys(name for name in sessions if isinstance(name, str)):
                users.setdefault(session, []).append(user)
    return users


def _index_findings(listed: Tree) -> Iterator[Finding]:
    for user, sessions in listed.items():
        path = path_to((_USERS, user))
        yield from (warning(path, f"{finding.message}; the entry was ignored") for finding in _id_problems(user, path))
        if not isinstance(sessions, list) or not all(isinstance(name, str) for name in sessions):
            yield warning(path, "expected a list of session ids; whatever else stands there was ignored")


def _id_problems(name: str, path: str) -> list[Finding]:
    walk = Walk()
    walk.value(Id, name, path)
    return walk.findings


def _content(tree: Tree, session: str) -> list[Any]:
    content = tree.setdefault(_SESSIONS, {}).setdefault(session, [])
    if not isinstance(content, list):
        raise _unreadable((_SESSIONS, session))
    return content


def _list_user(tree: Tree, record: Reflection, content: list[Any]) -> None:
    """List the record's owner for its session, and, where the listing changes, whoever else owns something there."""
    users = tree.setdefault(_USERS, {})
    if record.session_id in _listed(users, record.owner):
        return
    others = (item.owner for item in content if isinstance(item, Reflection))
    for user in dict.fromkeys((*others, record.owner)):
        listed = _listed(users, user)
        if record.session_id not in listed:
            listed.append(record.session_id)


def _listed(users: Tree, user: str) -> list[Any]:
    listed = users.setdefault(user, [])
    if not isinstance(listed, list):
        raise _unreadable((_USERS, user))
    return listed


def _unreadable(place: tuple[str, ...]) -> RecordUnreadable:
    return RecordUnreadable(
        f"{path_to(place)} is no list, so nothing can be saved there; run validate_orb_files, and mend the file by hand"
    )


def _swap(content: list[Any], old: Record, new: list[Record]) -> None:
    """Put something in the place of a record and its equal copies; a copy that differs was refused, and stays."""
    same = [index for index, item in enumerate(content) if isinstance(item, Reflection) and item.key == old.key]
    rest = [item for index, item in enumerate(content) if index not in same or digest(item) != digest(old)]
    rest[same[0] : same[0]] = new
    content[:] = rest


def _items_as_json(content: list[Any], users: list[str]) -> list[Any]:
    implied = users[0] if users else NOBODY
    return [
        _item_as_json(item, says_user=len(users) > 1 or item.user_id != implied)
        if isinstance(item, Reflection)
        else item
        for item in content
    ]


def _item_as_json(record: Reflection, *, says_user: bool) -> Tree:
    printed = record.as_json()
    user = printed.pop("userId")
    del printed["sessionId"]
    said = {name: value for name, value in (record.extra or {}).items() if name in ("userId", "sessionId")}
    return printed | said | ({"userId": user} if says_user else {})
