"""What the contract suite needs to know of each kind of record. A new domain adds one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode, Profile
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Record
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.mav.domain import DOMAIN as MAV
from tests.mav.records import Action
from tests.support.factories import (
    ActionFactory,
    ActiveModeFactory,
    ObjectProfileFactory,
    ProfileFactory,
    ReflectionFactory,
)


@dataclass(frozen=True)
class Case:
    domain: Domain
    kind: type[Record]
    make: Callable[..., Any]
    witness: str
    """A field that tests change, and look at through the back door."""
    values: tuple[Any, Any]
    items: Callable[[Any], dict[tuple[str, ...], Any]]
    """From the whole JSON of a file to the value of the witness by key."""

    def many(self, number: int, **fields: Any) -> list[Any]:
        return [self.make(**fields) for _ in range(number)]

    def changed(self, record: Any, which: int = 0) -> Any:
        return msgspec.structs.replace(record, **{self.witness: self.values[which]})

    def stolen(self, record: Any) -> Any:
        return msgspec.structs.replace(record, user_id="somebody-else")

    form: str = ""
    """What tells this case from another of the same kind."""

    @property
    def id(self) -> str:
        return f"{self.kind.plural}{self.form}"


def held(value: Any) -> Any:
    """Return a list of a file as a record has it."""
    return tuple(value) if isinstance(value, list) else value


def _reflections(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield each item of Te's file with its user, as the guide's layout tells it."""
    for session, items in tree["sessions"].items():
        users = [user for user, sessions in tree["userSessions"].items() if session in sessions]
        yield from ((item.get("userId", users[0]), item) for item in items)


CASES = [
    Case(
        LUNA, Profile, ProfileFactory, "preferences", (("one",), ("two", "Größe")),
        lambda tree: {(u, m): held(p["preferences"]) for u, e in tree.items() for m, p in e["profiles"].items()},
    ),
    Case(
        LUNA, Profile, ObjectProfileFactory, "preferences",
        ({"theme": "dark", "10": [1, 0.5, None, {"a": {}}]}, {"one": True, "Größe": "🚀", "big": 10**20, "tiny": 1e-7}),
        lambda tree: {(u, m): held(p["preferences"]) for u, e in tree.items() for m, p in e["profiles"].items()},
        form="-of-objects",
    ),
    Case(
        LUNA, ActiveMode, ActiveModeFactory, "mode_id", ("mars", "用户"),
        lambda tree: {(u,): e["activeMode"] for u, e in tree.items() if "activeMode" in e},
    ),
    Case(
        TE, Reflection, ReflectionFactory, "input", ("one", "two\r\n\u2028 🚀"),
        lambda tree: {(user, i["id"]): i["input"] for user, i in _reflections(tree)},
    ),
    Case(
        MAV, Action, ActionFactory, "title", ("one", "two"),
        lambda tree: {(name,): item["title"] for items in tree.values() for name, item in items.items()},
    ),
]  # fmt: skip
