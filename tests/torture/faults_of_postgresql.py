"""Takes PostgreSQL away from a migrator: python -m tests.torture.faults_of_postgresql KIND DIRECTORY SEED ROUNDS.

KIND is crash, where the server stops as if it crashed; terminate, where it ends the connection; or cut, where the connection breaks before
a commit reaches it, or after its answer has left. Each time the command must say so, and running it again bring everything. Prints JSON.
"""

from __future__ import annotations

import json
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.torture.migrator import AFTER, BEFORE, Outcome, Site, spread
from tests.torture.proxy import Cut, running
from tests.torture.stage import START, Reference, going_on, its_own, prepared, reference, server_of

Fault = Callable[[Site, Reference, random.Random], tuple[str, Outcome, bool]]


def crash(site: Site, expected: Reference, draw: random.Random) -> tuple[str, Outcome, bool]:
    part, server = draw.random(), server_of(site).server
    started = site.start_migration()
    signal.sigtimedwait([], part * expected.seconds)
    server.stop("immediate")
    outcome = started.wait()
    server.start()
    return f"crashed after {part:.3f} of it", outcome, outcome.code != expected.code


def terminate(site: Site, expected: Reference, draw: random.Random) -> tuple[str, Outcome, bool]:
    part, database = draw.random(), server_of(site)
    started = site.start_migration()
    database.until_connected()
    signal.sigtimedwait([], part * expected.seconds)
    found = database.terminate()
    outcome = started.wait()
    return f"terminated {found} after {part:.3f} of it", outcome, outcome.code != expected.code


def cut(site: Site, expected: Reference, draw: random.Random) -> tuple[str, Outcome, bool]:
    at = Cut(draw.randint(1, expected.commits), draw.choice((BEFORE, AFTER)))
    with running(server_of(site).server, at) as place:
        outcome = site.migrate(**place)
    return f"cut {at.when} commit {at.number}", outcome, at.done


def tried(site: Site, expected: Reference, rounds: Sequence[int], fault: Fault) -> dict[str, Any]:
    """Do so once for each seed; a fault that came when all was done is no fault."""
    counts: Counter[str] = Counter({"faults": 0, "too late": 0})
    violations = []
    for seed in rounds:
        site.database.back(START)
        what, outcome, hit = fault(site, expected, random.Random(seed))
        counts["faults" if hit else "too late"] += 1
        problems = [] if outcome.is_clear or not hit else [f"the command does not say it as it should: {outcome}"]
        violations += [f"{what}: {one}" for one in problems + going_on(site, expected)]
    return {**counts, "violations": violations}


def main() -> None:
    kind, work, seed, rounds = sys.argv[1:5]
    fault: Fault = {"crash": crash, "terminate": terminate, "cut": cut}[kind]
    with prepared("postgresql", Path(work)) as site:
        expected = reference(site)
        if kind == "cut":
            expected.commits = transactions(site)
        seeds = [int(seed) * 1000 + number for number in range(int(rounds))]
        if kind == "crash":  # everybody's server
            result = tried(site, expected, seeds, fault)
        else:
            result = spread(seeds, lambda number, mine: tried(its_own(site, number), expected, mine, fault))
    print(json.dumps({"commits": expected.commits, **result}))  # noqa: T201


def transactions(site: Site) -> int:
    """Count the transactions of a run, without single statements."""
    at = Cut(0, BEFORE)
    site.database.back(START)
    with running(server_of(site).server, at) as place:
        site.migrate(**place)
    return at.seen


if __name__ == "__main__":
    main()
