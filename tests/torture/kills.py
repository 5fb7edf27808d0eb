"""Kills a migrator with -9: python -m tests.torture.kills KIND DIRECTORY DATABASE SEED ROUNDS [MUTANT].

KIND is commits, each of a run in turn, before and after it; or random, so many moments. Each time the migration is run again to its end,
and what it came to is compared with one that nothing disturbed. Prints a JSON object.
"""

from __future__ import annotations

import json
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.torture.migrator import AFTER, BEFORE, Site, counted, killed_at, spread
from tests.torture.stage import START, Reference, going_on, its_own, prepared, reference


def at_commits(site: Site, expected: Reference, rounds: Sequence[Any], *, early: bool) -> dict[str, Any]:
    """Kill before or after the commit of each number."""
    violations = []
    for number, when in rounds:
        site.database.back(START)
        outcome = site.migrate(before=killed_at(number, when, early=early))
        problems = [] if outcome.code == -signal.SIGKILL else [f"it was not killed: {outcome}"]
        problems = problems or going_on(site, expected)
        violations += [f"killed {when} commit {number}: {one}" for one in problems]
    return {"kills": len(rounds), "violations": violations}


def at_random(site: Site, expected: Reference, rounds: Sequence[float]) -> dict[str, Any]:
    """Kill after some part of the time that a migration takes."""
    violations, late = [], 0
    for part in rounds:
        site.database.back(START)
        started = site.start_migration()
        signal.sigtimedwait([], part * expected.seconds)
        started.kill()
        late += started.wait().code != -signal.SIGKILL
        violations += [f"killed after {part:.3f} of it: {one}" for one in going_on(site, expected)]
    return {"kills": len(rounds) - late, "too late": late, "violations": violations}


def main() -> None:
    kind, work, database, seed, rounds = sys.argv[1:6]
    early = sys.argv[6:] == ["early-commits"]
    with prepared(database, Path(work)) as site:
        if (kind, database) == ("random", "sqlite"):
            site.options = ()  # it may be killed while it makes its backup, too
        expected = reference(site)
        if kind == "random":
            draw = random.Random(int(seed))
            moments = [draw.random() for _ in range(int(rounds))]
            result = spread(moments, lambda number, mine: at_random(its_own(site, number), expected, mine))
        else:
            commits = _count(site) if early else expected.commits
            points = [(number, when) for number in range(1, commits + 1) for when in (BEFORE, AFTER)]
            points = points[:: max(1, len(points) // int(rounds))] if early else points
            work_on = lambda number, mine: at_commits(its_own(site, number), expected, mine, early=early)  # noqa: E731
            result = spread(points, work_on)
    print(json.dumps({"commits": expected.commits, "read": expected.domains["te"]["read"], **result}))  # noqa: T201


def _count(site: Site) -> int:
    """Count the commits of a run that commits too early."""
    notes = site.base.with_name("early")
    site.database.back(START)
    site.migrate(before=counted(notes, early=True))
    return notes.read_bytes().count(b"b")


if __name__ == "__main__":
    main()
