"""The schema versions of Luna, which each user of a document has for itself.

0: constraints are texts. 1: constraints are objects. 2: a user states the version, and `activeModeUpdatedAt` beside
`activeMode`. Both forms of constraints are read in every version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import structs

from luna.records import Constraint, Profile
from orbsite.storage.findings import Finding, step, warning
from orbsite.storage.records.record import field_names
from orbsite.storage.records.versions import UNMARKED, Part, Step, Versions, unchanged

ACTIVE_SINCE = "activeModeUpdatedAt"
"""The member of a user in version 2 that has the time at which the active mode was set."""

_PROFILES, _CONSTRAINTS = "profiles", "constraints"
_KNOWN = {name for _, name in field_names(Constraint)}


def _to_objects(user: Part, path: str) -> tuple[Part, list[Finding]]:
    """Turn the constraints that are texts into objects (0 to 1)."""

    def change(mode: str, profile: Part, path: str) -> tuple[Part, list[Finding]]:  # noqa: ARG001 -- see _to_texts
        constraints = profile.get(_CONSTRAINTS)
        if not isinstance(constraints, list) or not _has_texts(constraints):
            return profile, []
        taken = (one.get("id") for one in constraints if isinstance(one, dict))
        made = _objects(mode, constraints, taken)
        return profile | {_CONSTRAINTS: [one.as_json() if isinstance(one, Constraint) else one for one in made]}, []

    return _each_profile(user, path, change)


def _to_texts(user: Part, path: str) -> tuple[Part, list[Finding]]:
    """Turn the constraints that are objects into their descriptions (1 to 0)."""

    def change(mode: str, profile: Part, path: str) -> tuple[Part, list[Finding]]:
        lost = [
            warning(step(path, name), "version 0 has only a list of texts for it; the object is kept")
            for name in ("preferences", _CONSTRAINTS)
            if isinstance(profile.get(name), dict)
        ]
        constraints = profile.get(_CONSTRAINTS)
        if not isinstance(constraints, list):
            return profile, lost
        texts = []
        for index, constraint in enumerate(constraints):
            text, message = _text_of(constraint, _name(mode, index))
            texts.append(text)
            lost += [warning(step(step(path, _CONSTRAINTS), index), message)] if message else []
        return profile | {_CONSTRAINTS: texts}, lost

    return _each_profile(user, path, change)


def _without_time(user: Part, path: str) -> tuple[Part, list[Finding]]:
    """Leave out the time of the active mode (2 to 1)."""
    if ACTIVE_SINCE not in user:
        return user, []
    lost = warning(step(path, ACTIVE_SINCE), "version 1 has no place for the time of an active mode")
    return {name: value for name, value in user.items() if name != ACTIVE_SINCE}, [lost]


def _of_content(user: Part) -> int:
    profiles = user.get(_PROFILES)
    found = profiles.values() if isinstance(profiles, dict) else ()
    lists = (profile.get(_CONSTRAINTS) for profile in found if isinstance(profile, dict))
    return 0 if any(_has_texts(one) for one in lists if isinstance(one, list)) else UNMARKED


def _with_objects(profile: Profile) -> Profile:
    """Return a profile with constraints that are objects, the same profile if none is a text."""
    constraints = profile.constraints
    if isinstance(constraints, dict) or not _has_texts(constraints):
        return profile
    taken = (one.id for one in constraints if isinstance(one, Constraint))
    return structs.replace(profile, constraints=tuple(_objects(profile.mode_id, constraints, taken)))


def _each_profile(
    user: Part, path: str, change: Callable[[str, Part, str], tuple[Part, list[Finding]]]
) -> tuple[Part, list[Finding]]:
    profiles = user.get(_PROFILES)
    if not isinstance(profiles, dict):
        return user, []
    changed, findings = {}, list[Finding]()
    for mode, profile in profiles.items():
        changed[mode] = profile
        if isinstance(profile, dict):
            changed[mode], found = change(mode, profile, step(step(path, _PROFILES), mode))
            findings += found
    return user | {_PROFILES: changed}, findings


def _has_texts(constraints: Iterable[Any]) -> bool:
    return any(isinstance(one, str) for one in constraints)


def _name(mode: str, index: int) -> str:
    """Return the id of a constraint at an index, as the earlier system gives it to the constraints of a preset."""
    return f"constraint-{mode}-{index}"


def _objects(mode: str, constraints: Iterable[Any], taken: Iterable[Any]) -> Iterator[Any]:
    """Yield the constraints, each text as an object with the id of its index, or a higher one if that is taken."""
    used = {name for name in taken if isinstance(name, str)}
    for index, constraint in enumerate(constraints):
        if not isinstance(constraint, str):
            yield constraint
            continue
        free = index
        while _name(mode, free) in used:
            free += 1
        used.add(_name(mode, free))
        yield Constraint(id=_name(mode, free), **Constraint.when_missing, description=constraint)


def _text_of(constraint: Any, name: str) -> tuple[Any, str]:
    """Return a constraint as text, and a message about what the text does not hold; empty if it holds everything."""
    if not isinstance(constraint, dict):
        return constraint, ""
    described = isinstance(constraint.get("description"), str)
    text = constraint.get("description") if described else constraint.get("id")
    if not isinstance(text, str):
        return constraint, "it has neither a description nor an id that could be its text; the object is kept"
    whole = Constraint(id=name, **Constraint.when_missing, description=text).as_json()
    lost = [one for one, value in constraint.items() if one not in whole or whole[one] != value]
    known = [one if one in _KNOWN else "unknown members" for one in lost]
    kept = "its description" if described else "its id, because it has no description,"
    return text, f"a text holds only {kept} and not {', '.join(dict.fromkeys(known))}" if lost or not described else ""


VERSIONS = Versions(
    steps=(
        Step(up=_to_objects, down=_to_texts),
        Step(up=unchanged, down=_without_time, reserved=frozenset({ACTIVE_SINCE})),
    ),
    unit="users",
    of_content=_of_content,
    by_member=True,
    records={Profile: _with_objects},
)
"""The versions of Luna's documents and rows."""
