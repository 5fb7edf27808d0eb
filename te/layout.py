"""The layout of `te/reflections.json`: reflections by session, and the sessions of each user.

A reflection on disk has no user. `userSessions` lists the sessions of each user. Only items in a session of several
users have a `userId`. From version 2 on, which the document states, every item has `userId` and `sessionId`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Literal

import msgspec
from msgspec import structs
from typing_extensions import override

from orbsite.storage.encoding.json_parser import count_keys, repeated_keys
from orbsite.storage.errors import DocumentCorrupt, RecordUnreadable
from orbsite.storage.findings import ROOT, Finding, error, errors, path_to, step, warning
from orbsite.storage.records.decoder import Piece, Reader, decoded, items, keys_in, keys_of_many, members, peek
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Entry, Layout, Place, Span, Tree, flattened
from orbsite.storage.records.record import Extra, Key, Record
from orbsite.storage.records.validator import name_of
from orbsite.storage.records.versions import MARK, MARKED, UNMARKED, is_marked, refuse_newer
from te import retention
from te.item_encoder import SessionItems
from te.ownership import (
    DEFAULT_OWNER,
    USERS,
    Items,
    id_problems,
    index_findings,
    items_of,
    list_session,
    ownership,
    to_list,
    unlist,
    users_of,
)
from te.records import Reflection
from te.versions import VERSIONS

_SESSIONS = "sessions"
_USUAL_ORDER = re.compile(rb'\{\s*"sessions"')
_MARKED_ORDER = re.compile(rb'\{\s*"schemaVersion"\s*:\s*2\s*,\s*"sessions"')


class _Whole(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    sessions: dict[str, list[Reflection]]
    userSessions: dict[str, list[str]]  # noqa: N815 -- as in the file


class _WholeMarked(_Whole):
    schemaVersion: Literal[2]  # noqa: N815 -- as in the file


class _Parts(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The parts of a document, whose sessions and users are not decoded yet."""

    sessions: dict[str, msgspec.Raw]
    userSessions: dict[str, msgspec.Raw]  # noqa: N815 -- as in the file
    schemaVersion: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 -- as in the file


class ReflectionsLayout(Layout):
    """`{"sessions": {"<sessionId>": [{...}]}, "userSessions": {"<userId>": ["<sessionId>"]}}`."""

    def __init__(self) -> None:
        self._reader = Reader(Reflection)
        self._parts = msgspec.json.Decoder(_Parts)
        self._whole = msgspec.json.Decoder(_Whole)
        self._whole_marked = msgspec.json.Decoder(_WholeMarked)

    def decode(self, data: bytes) -> Iterator[Entry]:
        """Yield an entry for each session, followed by its reflections, and for all other parts of the document."""
        return flattened(self.decode_spans(data))

    @override
    def decode_spans(self, data: bytes) -> Iterator[Entry | Span]:
        parts = self._parts_in_usual_order(data) or members(msgspec.Raw(data))
        if parts is None:
            raise DocumentCorrupt("expected an object with sessions and userSessions", ROOT)
        refuse_newer(parts, VERSIONS.newest, ROOT)
        marked = is_marked(parts)
        sessions, index = _object(parts, _SESSIONS), _object(parts, USERS)
        listed = {user: peek(piece) for user, piece in index.items()}
        users = users_of(listed)
        keys = len(parts) + len(sessions) + count_keys(listed)
        for name, piece in parts.items():
            if name == USERS:
                yield Entry(place=(USERS,), value=listed, findings=tuple(index_findings(listed)))
            elif name != _SESSIONS:
                keys += keys_in(piece)
                yield Entry(place=(name,), value=piece)
            else:
                yield Entry(place=(_SESSIONS,), value={})
                for session, content in sessions.items():
                    for part, count in self._session(session, content, tuple(users.get(session, ())), marked=marked):
                        keys += count
                        yield part
        yield Entry(place=(), findings=tuple(repeated_keys(data, keys)))

    def _parts_in_usual_order(self, data: bytes) -> dict[str, Piece] | None:
        """Return the members of the document and of its two objects in one pass, None for an unusual document."""
        is_marked_document = _MARKED_ORDER.match(data) is not None
        if not is_marked_document and not _USUAL_ORDER.match(data):
            return None
        try:
            found = self._parts.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if (found.schemaVersion is not msgspec.UNSET) != is_marked_document:
            return None
        mark = {MARK: found.schemaVersion} if is_marked_document else {}
        return {**mark, _SESSIONS: found.sessions, USERS: found.userSessions}

    def decode_whole(self, data: bytes) -> tuple[Tree, Sequence[Record]] | None:
        """Decode the whole document at once, or return None if a reflection has unknown keys or unusual places.

        Before version 2 a `sessionId` is unusual; from then on, an item without `userId` or without its `sessionId`.
        """
        if _USUAL_ORDER.match(data):
            return self._decode_unmarked(data)
        return self._decode_marked(data) if _MARKED_ORDER.match(data) else None

    def _decode_unmarked(self, data: bytes) -> tuple[Tree, Sequence[Record]] | None:
        whole: _Whole | None = decoded(self._whole, data)
        if whole is None:
            return None
        users, records = users_of(whole.userSessions), [*chain.from_iterable(whole.sessions.values())]
        if _has_bad_ids(whole):
            return None
        if any(list(map(attrgetter(name), records)).count(None) < len(records) for name in ("session_id", "extra")):
            return None
        for session, content in whole.sessions.items():
            owner = users.get(session, [DEFAULT_OWNER])[0]
            for record in content:
                structs.force_setattr(record, "session_id", session)
                if record.user_id is None:
                    structs.force_setattr(record, "user_id", owner)
        return {_SESSIONS: whole.sessions, USERS: whole.userSessions}, records

    def _decode_marked(self, data: bytes) -> tuple[Tree, Sequence[Record]] | None:
        whole: _WholeMarked | None = decoded(self._whole_marked, data)
        if whole is None or _has_bad_ids(whole):
            return None
        records = [*chain.from_iterable(whole.sessions.values())]
        if any(one.extra is not None or one.user_id is None for one in records):
            return None
        if any(one.session_id != session for session, content in whole.sessions.items() for one in content):
            return None
        return {MARK: whole.schemaVersion, _SESSIONS: whole.sessions, USERS: whole.userSessions}, records

    @override
    def new_tree(self, version: int = UNMARKED) -> Tree:
        return {MARK: version, _SESSIONS: {}, USERS: {}} if version >= MARKED else {}

    def admit(self, tree: Tree, record: Record) -> None:
        """Raise RecordUnreadable if the session, or a list in `userSessions` that would change, is not a list."""
        session = _session_of(record)
        content, users = items_of(tree.get(_SESSIONS, {}), session), tree.get(USERS, {})
        content = [] if content is None else content
        if not isinstance(content, list):
            raise _unreadable((_SESSIONS, session))
        for user in to_list(users, record.owner, session, content):
            if not isinstance(users.get(user, []), list):
                raise _unreadable((USERS, user))

    def apply(self, tree: Tree, record: Record, old: Record | None) -> None:
        """Append a reflection to its session, or replace the old one at its position."""
        session = _session_of(record)
        if isinstance(old, Reflection) and old.session_id != session:
            self.drop(tree, old)
            old = None
        sessions = tree.setdefault(_SESSIONS, {})
        content = items_of(sessions, session)
        if content is None:
            content = sessions[session] = Items()
        users = tree.setdefault(USERS, {})
        for user in to_list(users, record.owner, session, content):
            list_session(users, user, session)
        if old is None:
            content.append(record)
        else:
            _swap(content, old, record)

    def drop(self, tree: Tree, record: Record) -> None:
        """Remove a reflection, and its session if that is empty, with the session's entries in `userSessions`."""
        retention.drop_many(tree, [record])

    @override
    def places(self, tree: Tree, records: Iterable[Record]) -> dict[Key, int]:
        return retention.places(tree, records)

    @override
    def drop_many(self, tree: Tree, records: Iterable[Record]) -> None:
        retention.drop_many(tree, records)

    @override
    def put_back(self, tree: Tree, records: Sequence[tuple[Record, int | None]]) -> None:
        retention.put_back(tree, records)

    def prune(self, tree: Tree) -> Iterator[tuple[Place, Any, str]]:
        """Remove empty sessions, then missing sessions from `userSessions`."""
        sessions, users = tree.get(_SESSIONS, {}), tree.get(USERS, {})
        for session in [name for name, content in sessions.items() if not content]:
            yield (_SESSIONS, session), sessions.pop(session), "the session is empty"
        for user, listed, reason in unlist(users, sessions):
            yield (USERS, user), listed, reason

    def forget(self, tree: Tree, is_gone: Callable[[str], bool], places: Sequence[Place]) -> bool:
        """Remove erased users from `userSessions`, and the sessions at `places` if they are empty."""
        sessions, users = tree.get(_SESSIONS, {}), tree.get(USERS, {})
        erased = [user for user in users if is_gone(user)]
        for user in erased:
            del users[user]
        changed = {place[1] for place in places if place[0] == _SESSIONS and len(place) > 1}
        emptied = {name for name in changed if isinstance(name, str) and not sessions.get(name)}
        for name in emptied:
            sessions.pop(name, None)
        retention.unlist_sessions(users, emptied)
        return bool(erased or emptied)

    @override
    def divided(self, tree: Tree) -> Tree:
        sessions: Tree = tree.get(_SESSIONS, {})
        return sessions

    @override
    def member_of(self, record: Record) -> str:
        return _session_of(record)

    @override
    def encode(self, tree: Tree) -> Any:
        printed = dict(tree)
        printed[_SESSIONS] = _PrintedSessions(tree)
        printed.setdefault(USERS, {})
        return printed

    def _session(
        self, session: str, piece: Piece, users: tuple[str, ...], *, marked: bool
    ) -> Iterator[tuple[Entry | Span, int]]:
        place = (_SESSIONS, session)
        id_findings = id_problems(session, path_to(place))
        whole = None if id_findings else self._reader.read_many(piece)
        usual = (None, session) if marked else (None,)
        if whole is not None and all(record.session_id in usual for record in whole):
            yield Entry(place=place, value=[]), keys_of_many(Reflection, whole)
            if _has_one_owner_each(whole, users):
                yield _span(whole, place, users), 0
                return
            for index, record in enumerate(whole):
                yield _owned(record, (*place, index), users, []), 0
            return
        content = items(piece)
        if content is None:
            message = f"expected a list, got {name_of(piece)}"
            wrong = (error(path_to(place), message),)
            refused = Entry(
                place=place, value=piece, kind=Reflection, owners=tuple(users or [DEFAULT_OWNER]), findings=wrong
            )
            yield refused, keys_in(piece)
            return
        yield Entry(place=place, value=[]), 0
        for index, item in enumerate(content):
            yield self._item(item, (*place, index), users, id_findings, marked=marked)

    def _item(
        self,
        piece: Piece,
        place: tuple[str, str, int],
        users: tuple[str, ...],
        id_findings: list[Finding],
        *,
        marked: bool,
    ) -> tuple[Entry, int]:
        path = path_to(place)
        reading = self._reader.read(piece, path)
        findings = id_findings + reading.findings
        record, keys = reading.record, reading.keys
        if record is not None and record.session_id not in (None, place[1]):
            findings.append(error(step(path, "sessionId"), "the item is stored under another session"))
        if record is None or errors(findings):
            return _refused(piece, place, users, findings), keys
        if record.session_id is not None and not marked:  # redundant, but the file has it: keep it
            record = structs.replace(record, extra=Extra({**(record.extra or {}), "sessionId": place[1]}))
        return _owned(record, place, users, findings), keys


class _PrintedSessions(Mapping[str, Any]):
    """The JSON of each session, made when it is asked for, so that not all are in memory at once."""

    def __init__(self, tree: Tree) -> None:
        self._sessions: Tree = tree.get(_SESSIONS, {})
        self._users, self._marked = users_of(tree.get(USERS, {})), is_marked(tree)

    def __getitem__(self, session: str) -> Any:
        content = self._sessions[session]
        if not isinstance(content, list):
            return content
        return SessionItems(content, self._users.get(session, []), marked=self._marked)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sessions)

    def __len__(self) -> int:
        return len(self._sessions)


def _has_one_owner_each(records: list[Reflection], users: tuple[str, ...]) -> bool:
    return bool(records) and (len(users) == 1 or all(record.user_id is not None for record in records))


def _span(records: list[Reflection], place: tuple[str, str], users: tuple[str, ...]) -> Span:
    """Set session and owner of newly decoded records, as `_owned` does, and return their span."""
    for record in records:
        structs.force_setattr(record, "session_id", place[1])
        if record.user_id is None:
            structs.force_setattr(record, "user_id", users[0])
    return Span(place=place, kind=Reflection, records=records)


def _owned(record: Reflection, place: tuple[str, str, int], users: tuple[str, ...], findings: list[Finding]) -> Entry:
    """Set session and owner of a newly decoded record, and return its entry, with a warning if the owner is a guess."""
    structs.force_setattr(record, "session_id", place[1])
    owners: tuple[str, ...] = ()
    if record.user_id is None:
        structs.force_setattr(record, "user_id", users[0] if users else DEFAULT_OWNER)
        if len(users) != 1:
            owners = users
            findings = [*findings, warning(path_to(place), ownership(users))]
    return Entry(
        place=place, record=record, kind=Reflection, position=place[2], owners=owners, findings=tuple(findings)
    )


def _refused(piece: Piece, place: tuple[str, str, int], users: tuple[str, ...], findings: list[Finding]) -> Entry:
    value = peek(piece)
    item = value if isinstance(value, dict) else {}
    user, name = item.get("userId", users[0] if users else DEFAULT_OWNER), item.get("id")
    return Entry(
        place=place,
        value=piece,
        kind=Reflection,
        key=(user, name) if isinstance(user, str) and isinstance(name, str) else None,
        position=place[2],
        owners=(user,) if "userId" in item and isinstance(user, str) else users or (DEFAULT_OWNER,),
        findings=tuple(findings),
    )


def _has_bad_ids(whole: _Whole) -> bool:
    return any(id_problems(name, "") for name in (*whole.sessions, *whole.userSessions))


def _object(parts: dict[str, Piece], name: str) -> dict[str, Piece]:
    part = members(parts.get(name, {}))
    if part is None:
        raise DocumentCorrupt(f"expected an object, got {name_of(parts[name])}", step(ROOT, name))
    return part


def _session_of(record: Record) -> str:
    if not isinstance(record, Reflection) or record.session_id is None:
        raise TypeError(record)
    return record.session_id


def _unreadable(place: tuple[str, ...]) -> RecordUnreadable:
    return RecordUnreadable(
        f"{path_to(place)} is not a list, so nothing can be saved there; "
        "run validate_orb_files, then correct the file by hand"
    )


def _swap(content: Items, old: Record, new: Record) -> None:
    """Replace a record and its equal copies by another record. A differing copy was rejected earlier, and stays."""
    same = content.places_of(old.key)
    if len(same) == 1 and old.owner == new.owner and old.key == new.key:
        content.swap(same[0], new)
        return
    rest = [item for index, item in enumerate(content) if index not in same or digest(item) != digest(old)]
    rest.insert(same[0], new)
    content[:] = rest
