"""The schema versions of Te, which a document has as a whole.

0 and 1: an item has no owner and no session of its own, except where its session does not tell its owner. 2: the
document states the version, and every item has `userId` and `sessionId`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from orbsite.storage.findings import ROOT, Finding, path_to, warning
from orbsite.storage.records.versions import UNMARKED, Part, Step, Versions, unchanged
from te.ownership import DEFAULT_OWNER, USERS, ownership, users_of

_SESSIONS, _OWNER, _SESSION = "sessions", "userId", "sessionId"


def _with_owners(tree: Part, path: str) -> tuple[Part, list[Finding]]:  # noqa: ARG001 -- the document has one path
    """Give each item its owner and its session (1 to 2)."""
    findings: list[Finding] = []

    def change(item: Part, place: tuple[str | int, ...], users: Sequence[str]) -> Part:
        owner, session = item.get(_OWNER), item.get(_SESSION)
        if owner is None:
            owner = _implied(users)
            if len(users) != 1:
                findings.append(warning(path_to(place, ROOT), ownership(users)))
        return _bare(item) | {_OWNER: owner, _SESSION: place[1] if session is None else session}

    return _each_item(tree, change), findings


def _without_owners(tree: Part, path: str) -> tuple[Part, list[Finding]]:  # noqa: ARG001 -- as above
    """Leave out the owner and the session of each item where its place tells them (2 to 1)."""

    def change(item: Part, place: tuple[str | int, ...], users: Sequence[str]) -> Part:
        is_told = len(users) <= 1 and item.get(_OWNER) == _implied(users)
        kept = {} if is_told or _OWNER not in item else {_OWNER: item[_OWNER]}
        elsewhere = _SESSION in item and item[_SESSION] != place[1]
        return _bare(item) | kept | ({_SESSION: item[_SESSION]} if elsewhere else {})

    return _each_item(tree, change), []


def _each_item(tree: Part, change: Callable[[Part, tuple[str | int, ...], Sequence[str]], Part]) -> Part:
    sessions, listed = tree.get(_SESSIONS), tree.get(USERS, {})
    if not isinstance(sessions, dict) or not isinstance(listed, dict):
        return tree
    users = users_of(listed)

    def changed(session: str, content: list[Any]) -> Iterator[Any]:
        for index, item in enumerate(content):
            place = (_SESSIONS, session, index)
            yield change(item, place, users.get(session, ())) if isinstance(item, dict) else item

    return tree | {
        _SESSIONS: {
            session: list(changed(session, content)) if isinstance(content, list) else content
            for session, content in sessions.items()
        }
    }


def _implied(users: Sequence[str]) -> str:
    """Return the owner of an item that names none."""
    return users[0] if users else DEFAULT_OWNER


def _bare(item: Part) -> Part:
    return {name: value for name, value in item.items() if name not in (_OWNER, _SESSION)}


VERSIONS = Versions(
    steps=(Step(up=unchanged, down=unchanged), Step(up=_with_owners, down=_without_owners)),
    unit="documents",
    of_content=lambda _: UNMARKED,
)
"""The versions of Te's documents. Rows have owner and session in every version."""
