"""The layout of `luna/profiles.json`: users, their profiles by mode, and their active modes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from typing_extensions import override

from luna.records import ActiveMode, Profile
from orbsite.storage.encoding.json_parser import repeated_keys
from orbsite.storage.errors import DocumentCorrupt, RecordUnreadable
from orbsite.storage.findings import ROOT, Finding, error, errors, path_to, step, warning
from orbsite.storage.records.decoder import Piece, Reader, Reading, keys_in, members, peek, read
from orbsite.storage.records.domain import Entry, Layout, Place, Tree
from orbsite.storage.records.record import Record
from orbsite.storage.records.validator import name_of

_ACTIVE = "activeMode"
_PROFILES = "profiles"


class ProfilesLayout(Layout):
    """`{"<userId>": {"activeMode": "<modeId>", "profiles": {"<modeId>": {...}}}}`."""

    def __init__(self) -> None:
        self._reader = Reader(Profile)

    def decode(self, data: bytes) -> Iterator[Entry]:
        """Yield an entry for each user, followed by the active mode, the profiles and the unknown keys of the user."""
        users = members(msgspec.Raw(data))
        if users is None:
            raise DocumentCorrupt("expected an object with one member per user", ROOT)
        keys = len(users)
        for user, piece in users.items():
            for entry, count in self._user(user, piece):
                keys += count
                yield entry
        yield Entry(place=(), findings=tuple(repeated_keys(data, keys)))

    def admit(self, tree: Tree, record: Record) -> None:
        """Raise RecordUnreadable if the user or the user's profiles are not an object."""
        user = tree.get(record.owner, {})
        if not isinstance(user, dict):
            raise _unreadable((record.owner,))
        if not isinstance(user.get(_PROFILES, {}), dict):
            raise _unreadable((record.owner, _PROFILES))

    def apply(self, tree: Tree, record: Record, old: Record | None) -> None:
        """Insert or replace a profile or an active mode."""
        user = tree.setdefault(record.owner, {})
        profiles = user.setdefault(_PROFILES, {})
        if isinstance(record, ActiveMode):
            tree[record.owner] = {_ACTIVE: record} | {name: part for name, part in user.items() if name != _ACTIVE}
        elif isinstance(record, Profile):
            profiles[record.mode_id] = record

    def drop(self, tree: Tree, record: Record) -> None:
        """Remove a profile or an active mode, and the user if no data remains."""
        user = tree[record.owner]
        if isinstance(record, ActiveMode):
            del user[_ACTIVE]
        elif isinstance(record, Profile):
            del user[_PROFILES][record.mode_id]
        if user == {_PROFILES: {}}:
            del tree[record.owner]

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
    def encode(self, tree: Tree) -> Any:
        return {user: _user_as_json(part) if isinstance(part, dict) else part for user, part in tree.items()}

    def _user(self, user: str, piece: Piece) -> Iterator[tuple[Entry, int]]:
        parts = members(piece)
        if parts is None:
            yield _refused((user,), piece, None, f"expected an object, got {name_of(piece)}"), keys_in(piece)
            return
        yield Entry(place=(user,), value={}), len(parts)
        modes = members(parts.get(_PROFILES, {}))
        for name, part in parts.items():
            if name == _ACTIVE:
                yield _active_mode(user, peek(part), modes or {}), keys_in(part)
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


def _active_mode(user: str, value: Any, modes: dict[str, Piece]) -> Entry:
    place = (user, _ACTIVE)
    path = path_to(place)
    if value is None:
        return Entry(place=place, findings=(warning(path, "is null; read as no active mode"),))
    reading = read(ActiveMode, {"userId": user, "modeId": value}, path)
    findings = [Finding(path, finding.severity, finding.message) for finding in reading.findings]
    if reading.record and value not in modes:
        findings.append(warning(path, "the user has no profile in this mode; it is kept"))
    return Entry(
        place=place,
        record=reading.record,
        value=value,
        kind=ActiveMode,
        key=(user,),
        findings=tuple(findings),
    )


def _refused(place: tuple[str, ...], piece: Piece, key: tuple[str, ...] | None, message: str) -> Entry:
    return Entry(place=place, value=piece, kind=Profile, key=key, findings=(error(path_to(place), message),))


def _unreadable(place: tuple[str, ...]) -> RecordUnreadable:
    return RecordUnreadable(
        f"{path_to(place)} is not an object, so nothing can be saved there; "
        "run validate_orb_files, then correct the file by hand"
    )


def _user_as_json(user: Tree) -> Tree:
    return {name: _part_as_json(part) for name, part in user.items()}


def _part_as_json(part: Any) -> Any:
    if isinstance(part, ActiveMode):
        return part.mode_id
    if isinstance(part, dict):
        return {mode: item.as_json() if isinstance(item, Profile) else item for mode, item in part.items()}
    return part
