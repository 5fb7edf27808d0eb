"""Cuts the connection to PostgreSQL at the commits of saves: python -m tests.torture.commits before|after DIRECTORY SEED ROUNDS.

Before a commit reaches the server, or after its answer was thrown away: a save cannot tell which, and whoever reads again can. Prints JSON.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.torture.databases import Postgresql, opened
from tests.torture.migrator import AFTER
from tests.torture.proxy import Cut, running
from tests.torture.writers import settle_on

Save = tuple[Any, Callable[[], Any]]
"""A record, and what saves it."""


def outcome_of(save: Callable[[], Any]) -> str:
    from orbsite.storage.errors import OrbError

    try:
        save()
    except OrbError as problem:
        return type(problem).__name__
    return "done"


def saves(store: Any, number: int) -> list[Save]:
    """Return two: a counter that goes to this number, and a new record."""
    from msgspec.structs import replace

    from orbsite.storage.records.digest import digest
    from te.records import Reflection
    from tests.support.factories import ReflectionFactory

    (old,) = store.fetch(Reflection, [("ana", "counter")]).values()
    raised, added = replace(old, input=str(number)), ReflectionFactory(id=f"r{number}")
    return [(raised, lambda: store.put([raised], expect=digest(old))), (added, lambda: store.add(added))]


def tried(store: Any, first: Save, second: Save, when: str) -> list[str]:
    """Save both, the first with a cut, again where reading says so; return what was not as it should be."""
    said, there = [], []
    for record, save in (first, second):
        said.append(outcome_of(save))
        there.append(store.fetch(type(record), [record.key]) == {record.key: record})
        if not there[-1]:
            said.append(outcome_of(save))
    expected = ["SaveOutcomeUnknown", "done"] if when == AFTER else ["SaveOutcomeUnknown", "done", "done"]
    return [] if (said, there) == (expected, [when == AFTER, True]) else [f"{first[0].id} {when}: {said}, {there}"]


def rounds(database: Postgresql, when: str, draw: random.Random, number: int) -> dict[str, Any]:
    from django.db import connections

    from orbsite.storage.sql.store import SqlStore
    from te.domain import DOMAIN
    from te.records import Reflection
    from tests.support.factories import ReflectionFactory

    place, store = connections["default"].settings_dict, SqlStore(DOMAIN)
    del place["OPTIONS"]["host"]
    place.update(database.place)
    store.put([ReflectionFactory(id="counter", input="0")])
    counts, violations = Counter(), []
    for one in range(1, number + 1):
        both = draw.sample(saves(store, one), 2)
        connections.close_all()
        cut = Cut(1, when)
        with running(database.server, cut) as through:
            place.update(through)
            violations += tried(store, *both, when)
            connections.close_all()
        place.update(database.place)
        counts["cuts"] += cut.done
    (last,) = store.fetch(Reflection, [("ana", "counter")]).values()
    if (last.input, store.count(Reflection)) != (str(number), number + 1):
        violations.append(f"the counter is {last.input}, and {store.count(Reflection)} records are there")
    return {**counts, "violations": violations}


def main() -> None:
    when, work, seed, number = sys.argv[1:]
    with opened("postgresql", Path(work)) as database:
        settle_on(database, {})
        found = rounds(database, when, random.Random(seed), int(number))
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
