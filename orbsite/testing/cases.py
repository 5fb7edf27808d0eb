"""What the contract suite needs to know of each kind of record. A new domain adds a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode, Constraint, Profile
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Record
from te.domain import DOMAIN as TE
from te.records import Reflection

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """A kind of record in the contract suite."""

    domain: Domain
    kind: type[Record]
    make: Callable[..., Any]
    """Makes a valid record with the given fields; without them, each differs from the one before and is newer."""
    witness: str
    """A field that tests change, and look at through the back door."""
    values: tuple[Any, Any]
    """Two values of the witness."""
    items: Callable[[Any], dict[tuple[str, ...], Any]]
    """From the whole JSON of a data file to the value of the witness by key."""
    form: str = ""
    """What tells this case from another of the same kind."""

    @property
    def id(self) -> str:
        """The name of the case in the ids of tests."""
        return f"{self.kind.plural}{self.form}"

    def many(self, number: int, **fields: Any) -> list[Any]:
        """Return several records with the given fields."""
        return [self.make(**fields) for _ in range(number)]

    def changed(self, record: Any, which: int = 0) -> Any:
        """Return a record with one of the two values of the witness."""
        return msgspec.structs.replace(record, **{self.witness: self.values[which]})

    def stolen(self, record: Any) -> Any:
        """Return a record as if it were another user's."""
        return msgspec.structs.replace(record, user_id="another-user")


def moment(number: int) -> datetime:
    """Return the time of the record with this number."""
    return BEGIN + timedelta(minutes=number, microseconds=number)


def maker(kind: type[Any], fields_of: Callable[[int], dict[str, Any]]) -> Callable[..., Any]:
    """Return a function that makes records of a kind; `fields_of` returns the fields of the record with a number."""
    numbers = count()

    def make(**fields: Any) -> Any:
        return kind(**fields_of(next(numbers)) | fields)

    return make


def held(value: Any) -> Any:
    """Return a list of a file as a record has it."""
    return tuple(value) if isinstance(value, list) else value


def _profile(number: int) -> dict[str, Any]:
    rule = Constraint(id=f"c-{number}", type="block_tool", active=True, description="no-work-alerts")
    return {
        "user_id": "ana",
        "mode_id": f"mode-{number:04}",
        "preferences": (f"preference {number}", "calm-ui"),
        "constraints": (rule,),
        "updated_at": moment(number),
    }


def _profile_of_objects(number: int) -> dict[str, Any]:
    """Return the fields of a profile as the earlier system's hosted line has it."""
    return {
        "user_id": "ana",
        "mode_id": f"{('work', 'personal', 'research')[number % 3]}-{number:04}",
        "preferences": {"tone": f"calm {number}", "learnt": ["key: value"], "limits": {"emails": number}},
        "constraints": {
            f"constraint-{1704067200000 + number}": {"active": True, "weight": 0.5},
            "quiet hours": ["22:00", None],
        },
        "updated_at": moment(number),
    }


def _active_mode(number: int) -> dict[str, Any]:
    return {"user_id": f"user-{number:04}", "mode_id": f"mode-{number}"}


def _reflection(number: int) -> dict[str, Any]:
    return {
        "id": f"reflection-{number:04}",
        "user_id": "ana",
        "session_id": "default",
        "input": f"input {number}",
        "output": "output",
        "tags": ("success", "orb"),
        "created_at": moment(number),
    }


def _items_of_reflections(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield each item of Te's file with its user, as the guide's layout tells it."""
    for session, items in tree["sessions"].items():
        users = [user for user, sessions in tree["userSessions"].items() if session in sessions]
        yield from ((item.get("userId", users[0]), item) for item in items)


def _preferences(tree: Any) -> dict[tuple[str, ...], Any]:
    return {(u, m): held(p["preferences"]) for u, entry in tree.items() for m, p in entry["profiles"].items()}


CASES = [
    Case(LUNA, Profile, maker(Profile, _profile), "preferences", (("one",), ("two", "Größe")), _preferences),
    Case(
        LUNA,
        Profile,
        maker(Profile, _profile_of_objects),
        "preferences",
        ({"theme": "dark", "10": [1, 0.5, None, {"a": {}}]}, {"one": True, "Größe": "🚀", "big": 10**20, "tiny": 1e-7}),
        _preferences,
        form="-of-objects",
    ),
    Case(
        LUNA,
        ActiveMode,
        maker(ActiveMode, _active_mode),
        "mode_id",
        ("mars", "用户"),
        lambda tree: {(user,): entry["activeMode"] for user, entry in tree.items() if "activeMode" in entry},
    ),
    Case(
        TE,
        Reflection,
        maker(Reflection, _reflection),
        "input",
        ("one", "two\r\n\u2028 🚀"),
        lambda tree: {(user, item["id"]): item["input"] for user, item in _items_of_reflections(tree)},
    ),
]
"""The kinds of records of Luna and Te."""
