"""The layout of `luna/profiles.json`: users, their profiles by mode, and their active modes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from typing_extensions import override

from luna.records import ActiveMode, Profile
from luna.versions import ACTIVE_SINCE, VERSIONS
from orbsite.storage.encoding.json_parser import repeated_keys
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.errors import DocumentCorrupt, RecordUnreadable
from orbsite.storage.findings import ROOT, Finding, error, errors, path_to, step, warning
from orbsite.storage.records.decoder import Piece, Reader, Reading, keys_in, members, peek, read
from orbsite.storage.records.domain import Entry, Layout, Place, Tree
from orbsite.storage.records.record import R, Record
from orbsite.storage.records.validator import name_of
from orbsite.storage.records.versions import MARK, MARKED, UNMARKED, is_marked, may_state, refuse_newer

_ACTIVE = "activeMode"
_PROFILES = "profiles"


class Users(dict[str, Any]):
    """The tree of a document: a user's part by user."""

    __slots__ = ("are_marked",)

    def __init__(self, *, are_marked: bool) -> None:
        super().__init__()
        self.are_marked = are_marked
        """Whether all users are known to state a version, so that a new one does too."""


class ProfilesLayout(Layout):
    """`{"<userId>": {"activeMode": "<modeId>", "profiles": {"<modeId>": {...}}}}`.

    From version 2 on, a user also has `schemaVersion` and `activeModeUpdatedAt`.
    """

    def __init__(self) -> None:
        self._reader = Reader(Profile)

    def decode(self, data: bytes) -> Iterator[Entry]:
        """Yield an entry for each user, followed by the active mode, the profiles and the unknown keys of the user."""
        users = members(msgspec.Raw(data))
        if users is None:
            raise DocumentCorrupt("expected an object with one member per user", ROOT)
        if may_state(data):
            _refuse_newer(users)
        keys = len(users)
        for user, piece in users.items():
            for entry, count in self._user(user, piece):
                keys += count
                yield entry
        yield Entry(place=(), findings=tuple(repeated_keys(data, keys)))

    @override
    def new_tree(self, version: int = UNMARKED) -> Tree:
        return Users(are_marked=version >= MARKED)

    @override
    def in_file(self, tree: Tree, record: R) -> R:
        if isinstance(record, ActiveMode) and isinstance(record.user_id, str) and _is_marked(tree, record.user_id):
            return record
        return super().in_file(tree, record)

    def admit(self, tree: Tree, record: Record) -> None:
        """Raise RecordUnreadable if the user or the user's profiles are not an object."""
        user = tree.get(record.owner, {})
        if not isinstance(user, dict):
            raise _unreadable((record.owner,))
        if not isinstance(user.get(_PROFILES, {}), dict):
            raise _unreadable((record.owner, _PROFILES))

    def apply(self, tree: Tree, record: Record, old: Record | None) -> None:
        """Insert or replace a profile or an active mode."""
        user = tree.get(record.owner)
        if user is None:
            user = tree[record.owner] = {MARK: MARKED} if _is_marked(tree, record.owner) else {}
        profiles = user.setdefault(_PROFILES, {})
        if isinstance(record, ActiveMode):
            tree[record.owner] = _with_active_mode(user, record)
        elif isinstance(record, Profile):
            profiles[record.mode_id] = record

    def drop(self, tree: Tree, record: Record) -> None:
        """Remove a profile or an active mode, and the user if no data remains."""
        user = tree[record.owner]
        if isinstance(record, ActiveMode):
            del user[_ACTIVE]
            if is_marked(user):
                user.pop(ACTIVE_SINCE, None)
        elif isinstance(record, Profile):
            del user[_PROFILES][record.mode_id]
        if user == {_PROFILES: {}} or (is_marked(user) and user.keys() == {MARK, _PROFILES} and not user[_PROFILES]):
            del tree[record.owner]
            if isinstance(tree, Users):
                tree.are_marked = False  # until it is found out again

    def prune(self, tree: Tree) -> Iterator[tuple[Place, Any, str]]:
        """Remove users who have neither a profile nor an active mode."""
        for user, part in list(tree.items()):
            if not part.get(_PROFILES) and not isinstance(part.get(_ACTIVE), ActiveMode):
                del tree[user]
                yield (user,), part, "the user has no profile and no active mode"

    def owner_of(self, entry: Entry) -> str | None:
        """Return the user of an entry: the first key of its place, even if the entry cannot be decoded."""
        owner = super().owner_of(entry)
        return owner if owner is not None or not entry.place else str(entry.place[0])

    @override
    def divided(self, tree: Tree) -> Tree:
        return tree

    @override
    def encode(self, tree: Tree) -> Any:
        return {user: _user_as_json(part) if isinstance(part, dict) else part for user, part in tree.items()}

    def _user(self, user: str, piece: Piece) -> Iterator[tuple[Entry, int]]:
        parts = members(piece)
        if parts is None:
            yield _refused((user,), piece, None, f"expected an object, got {name_of(piece)}"), keys_in(piece)
            return
        yield Entry(place=(user,), value={}), len(parts)
        modes = members(parts.get(_PROFILES, {}))
        active = _active_mode(user, parts, modes or {}) if _ACTIVE in parts else None
        for name, part in parts.items():
            if name == _ACTIVE and active is not None:
                yield active, keys_in(part)
            elif name == ACTIVE_SINCE and active is not None and _has_time(active.record):
                continue
            elif name != _PROFILES:
                yield Entry(place=(user, name), value=part), keys_in(part)
            elif modes is None:
                yield (
                    _refused((user, name), part, None, f"expected an object, got {name_of(part)}"),
                    keys_in(part),
                )
            else:
                yield Entry(place=(user, name), value={}), len(modes)
                yield from (self._profile(user, mode, profile) for mode, profile in modes.items())

    def _profile(self, user: str, mode: str, piece: Piece) -> tuple[Entry, int]:
        place = (user, _PROFILES, mode)
        reading = self._reader.read(piece, path_to(place))
        record, findings = _in_its_place(reading, place)
        entry = Entry(place=place, record=record, value=piece, kind=Profile, key=(user, mode), findings=tuple(findings))
        return entry, reading.keys


def _in_its_place(reading: Reading[Profile], place: tuple[str, str, str]) -> tuple[Profile | None, list[Finding]]:
    record, findings = reading.record, list(reading.findings)
    if record is None:
        return None, findings
    for what, inside, outside in (("user", record.user_id, place[0]), ("mode", record.mode_id, place[2])):
        if inside != outside:
            findings.append(error(step(path_to(place), f"{what}Id"), f"the profile is stored under another {what}"))
    return None if errors(findings) else record, findings


def _active_mode(user: str, parts: dict[str, Piece], modes: dict[str, Piece]) -> Entry:
    place = (user, _ACTIVE)
    path, value = path_to(place), peek(parts[_ACTIVE])
    if value is None:
        return Entry(place=place, findings=(warning(path, "is null; read as no active mode"),))
    reading = read(ActiveMode, {"userId": user, "modeId": value}, path)
    record, findings = reading.record, [Finding(path, one.severity, one.message) for one in reading.findings]
    if record and value not in modes:
        findings.append(warning(path, "the user has no profile in this mode; it is kept"))
    if record and ACTIVE_SINCE in parts and is_marked(parts):
        record, remarks = _timed(record, peek(parts[ACTIVE_SINCE]), path_to((user, ACTIVE_SINCE)))
        findings += remarks
    return Entry(
        place=place,
        record=record,
        value=value,
        kind=ActiveMode,
        key=(user,),
        findings=tuple(findings),
    )


def _timed(record: ActiveMode, time: Any, path: str) -> tuple[ActiveMode, list[Finding]]:
    """Return an active mode with its time; a time that does not decode is left where it stands, with a warning."""
    if time is None:
        return record, []
    reading = read(ActiveMode, record.as_json() | {"updatedAt": time}, path)
    ignored = "; it is kept, and the active mode has no time" if reading.record is None else ""
    return reading.record or record, [warning(path, f"{one.message}{ignored}") for one in reading.findings]


def _has_time(record: Record | None) -> bool:
    return isinstance(record, ActiveMode) and record.updated_at is not None


def _with_active_mode(user: Tree, record: ActiveMode) -> Tree:
    """Return a user's part with an active mode before the profiles, and without the time of the one before."""
    if not is_marked(user):
        return {_ACTIVE: record} | {name: part for name, part in user.items() if name != _ACTIVE}
    rest = {name: part for name, part in user.items() if name not in (MARK, _ACTIVE, ACTIVE_SINCE)}
    return {MARK: user[MARK], _ACTIVE: record} | rest


def _is_marked(tree: Tree, user: str) -> bool:
    """Tell whether a user states version 2, or will once it has a record: a new user does where all others do."""
    part = tree.get(user)
    if part is not None:
        return isinstance(part, dict) and is_marked(part)
    if not isinstance(tree, Users):
        return _are_marked(tree)
    tree.are_marked = tree.are_marked or _are_marked(tree)
    return tree.are_marked


def _are_marked(tree: Tree) -> bool:
    users = (part for part in tree.values() if isinstance(part, dict))
    first = next(users, None)
    return first is not None and is_marked(first) and all(map(is_marked, users))


def _refuse_newer(users: dict[str, Piece]) -> None:
    """Raise NewerVersion if a user, or the document in the place of a user, states a version that is not known."""
    refuse_newer(users, VERSIONS.newest, ROOT)
    for user, piece in users.items():
        parts = members(piece)
        if parts is not None:
            refuse_newer(parts, VERSIONS.newest, path_to((user,)))


def _refused(place: tuple[str, ...], piece: Piece, key: tuple[str, ...] | None, message: str) -> Entry:
    return Entry(place=place, value=piece, kind=Profile, key=key, findings=(error(path_to(place), message),))


def _unreadable(place: tuple[str, ...]) -> RecordUnreadable:
    return RecordUnreadable(
        f"{path_to(place)} is not an object, so nothing can be saved there; "
        "run validate_orb_files, then correct the file by hand"
    )


def _user_as_json(user: Tree) -> Tree:
    if not is_marked(user):
        return {name: _part_as_json(part) for name, part in user.items()}
    printed = {}
    for name, part in user.items():
        printed[name] = _part_as_json(part)
        if isinstance(part, ActiveMode) and part.updated_at is not None:
            printed[ACTIVE_SINCE] = spell(part.updated_at)
    return printed


def _part_as_json(part: Any) -> Any:
    if isinstance(part, ActiveMode):
        return part.mode_id
    if isinstance(part, dict):
        return {mode: item.as_json() if isinstance(item, Profile) else item for mode, item in part.items()}
    return part
