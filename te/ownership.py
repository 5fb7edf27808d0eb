"""Determines the owner of a reflection from `userSessions`, which lists the sessions of each user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from typing_extensions import override

from orbsite.storage.encoding.json_printer import key_order
from orbsite.storage.findings import Finding, path_to, warning
from orbsite.storage.records.domain import Tree
from orbsite.storage.records.record import Id, Key, Record
from orbsite.storage.records.validator import Walk
from te.records import Reflection

DEFAULT_OWNER = "default-user"
"""The owner of reflections in a session that is listed for no user."""
USERS = "userSessions"


class Listing(list[str]):
    """The list of a user's sessions in a document's tree, with constant-time lookup."""

    __slots__ = ("_known",)

    def __init__(self, sessions: Iterable[str] = ()) -> None:
        super().__init__(sessions)
        self._known = {name for name in self if isinstance(name, str)}

    def append(self, session: str) -> None:
        """Add a session at the end of the list."""
        super().append(session)
        self._known.add(session)

    def lists(self, session: str) -> bool:
        """Tell whether the list contains a session, in constant time."""
        return session in self._known


class Items(list[Any]):
    """The items of a session in a document's tree, with indexes of the record keys and of the owners."""

    __slots__ = ("_is_listed", "_owners", "_places")

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(items)
        self._places: dict[Key, list[int]] | None = None
        self._owners: dict[str, None] = {}
        self._is_listed = False

    @override
    def append(self, item: Any) -> None:
        super().append(item)
        if self._places is not None:
            self._add_to_index(len(self) - 1, item)

    def __setitem__(self, at: Any, item: Any) -> None:
        super().__setitem__(at, item)
        self._clear_index()

    def places_of(self, key: Key) -> list[int]:
        """Return the positions of the records with a key, including copies."""
        self._build_index()
        return (self._places or {}).get(key, [])

    def swap(self, at: int, record: Record) -> None:
        """Replace the record at a position by one with the same key and owner."""
        super().__setitem__(at, record)

    def owners(self) -> Iterable[str]:
        """Return the owners of the records, in the order of their first record."""
        self._build_index()
        return tuple(self._owners)

    def is_listed(self, users: Tree, session: str) -> bool:
        """Tell whether the session is listed for all owners of its records."""
        if not self._is_listed:
            self._is_listed = all(_lists(users, user, session) for user in self.owners())
        return self._is_listed

    def _build_index(self) -> None:
        if self._places is None:
            self._places = {}
            for at, item in enumerate(self):
                self._add_to_index(at, item)

    def _add_to_index(self, at: int, item: Any) -> None:
        if self._places is not None and isinstance(item, Reflection):
            self._places.setdefault(item.key, []).append(at)
            self._owners[item.owner] = None

    def _clear_index(self) -> None:
        self._places, self._owners, self._is_listed = None, {}, False


def items_of(tree: Tree, session: str) -> Any:
    """Return the content of a session in the tree. A plain list is replaced by `Items`."""
    content = tree.get(session)
    if type(content) is list:
        content = tree[session] = Items(content)
    return content


def users_of(listed: Tree) -> dict[str, list[str]]:
    """Return the users of each session, in JavaScript's key order of `userSessions`."""
    users: dict[str, list[str]] = {}
    for user in key_order(listed):
        sessions = listed[user] if isinstance(listed[user], list) else []
        if not id_problems(user, ""):
            for session in dict.fromkeys(name for name in sessions if isinstance(name, str)):
                users.setdefault(session, []).append(user)
    return users


def index_findings(listed: Tree) -> Iterator[Finding]:
    """Return the findings for invalid entries of `userSessions`."""
    for user, sessions in listed.items():
        path = path_to((USERS, user))
        yield from (warning(path, f"{finding.message}; the entry was ignored") for finding in id_problems(user, path))
        if not isinstance(sessions, list) or not all(isinstance(name, str) for name in sessions):
            yield warning(path, "expected a list of session ids; the other content was ignored")


def id_problems(name: str, path: str) -> list[Finding]:
    """Return the reasons why a text is not a valid id of a user or a session."""
    walk = Walk()
    walk.value(Id, name, path)
    return walk.findings


def to_list(users: Tree, owner: str, session: str, content: list[Any]) -> list[str]:
    """Return the users for whom a session has to be listed when `owner` gets a record in it.

    The result is empty if the session is listed for `owner`, else it includes all other owners that are not listed.
    """
    if _lists(users, owner, session):
        return []
    if isinstance(content, Items) and content.is_listed(users, session):
        return [owner]
    others = (item.owner for item in content if isinstance(item, Reflection))
    return [user for user in dict.fromkeys((*others, owner)) if not _lists(users, user, session)]


def unlist(users: Tree, sessions: Tree) -> Iterator[tuple[str, Any, str]]:
    """Remove missing sessions from the index. Yields the user, the removed content and the reason."""
    for user, listed in list(users.items()):
        if not isinstance(listed, list) or id_problems(user, ""):
            yield user, users.pop(user), "it is not a list of a user's sessions, and was ignored"
            continue
        kept = [name for name in listed if isinstance(name, str) and name in sessions]
        if not kept:
            yield user, users.pop(user), "the user has no session"
        elif len(kept) < len(listed):
            users[user] = kept
            removed = [name for name in listed if not isinstance(name, str) or name not in sessions]
            yield user, removed, "the listed sessions do not exist"


def _lists(users: Tree, user: str, session: str) -> bool:
    listed = users.get(user)
    if not isinstance(listed, Listing):
        if not isinstance(listed, list):
            return False
        listed = users[user] = Listing(listed)
    return listed.lists(session)


def list_session(users: Tree, user: str, session: str) -> None:
    """Add a session to the list of a user."""
    if user not in users:
        users[user] = Listing()
    users[user].append(session)


def ownership(users: Sequence[str]) -> str:
    """Return the warning for a reflection whose owner is not certain from its session."""
    if not users:
        return f"no user is listed for the session; taken as a reflection of {DEFAULT_OWNER}"
    return f"{len(users)} users share the session; taken as a reflection of the first one listed"
