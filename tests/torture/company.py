"""Others beside a migrator: python -m tests.torture.company KIND DIRECTORY DATABASE SEED ROUNDS. Prints a JSON object.

KIND is two, a second migrator that begins in the same moment; store, whose saves change the file while it is migrated; or rewrite, where another program
replaces it; or again, where the file has not changed, or little of it has.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.time_limits import time_limit
from tests.torture.databases import Sqlite
from tests.torture.migrator import BEFORE, Outcome, Site, at_each_commit, content, key_of, spread, whole
from tests.torture.stage import START, TE, Reference, its_own, prepared, reference, totals

_GENEROUS = 60.0


def two(site: Site, expected: Reference, rounds: Sequence[int]) -> dict[str, Any]:
    """Start two at once; whoever is first waits, after its first commit, until the other has ended."""
    violations = []
    for number in rounds:
        site.database.back(START)
        start, may_start = os.pipe()
        goes_on, may_go_on = os.pipe()
        unused = (may_start, may_go_on)
        both = [site.start_migration(before=_side_by_side(start, goes_on, unused)) for _ in range(2)]
        os.close(may_start)
        ended = _first(both)
        os.close(may_go_on)
        outcomes = [ended.get(one.pid) or one.wait() for one in both]
        for one in (start, goes_on):
            os.close(one)
        first, second = sorted(outcomes, key=lambda one: one.code)
        told = second.is_clear and "another run" in second.out
        problems = [] if told else [f"the second one did not leave it to the first: {second}"]
        violations += [f"round {number}: {one}" for one in problems + expected.problems(site, first)]
    return {"rounds": len(rounds), "violations": violations}


def _side_by_side(start: int, goes_on: int, unused: tuple[int, ...]) -> Callable[[], None]:
    def before() -> None:
        for one in unused:
            os.close(one)
        at_each_commit(lambda number, side: os.read(goes_on, 1) and None)
        os.read(start, 1)

    return before


def _first(both: Sequence[Any]) -> dict[int, Outcome]:
    """Wait until one has ended, or, where both go on, for long enough to say so."""
    deadline = time.monotonic() + time_limit(_GENEROUS)
    while time.monotonic() < deadline:
        for one in both:
            pid, status = os.waitpid(one.pid, os.WNOHANG)
            if pid:
                return {pid: one.ended(status)}
        time.sleep(0.002)
    return {}


def edited(site: Site, expected: Reference, rounds: Sequence[int], kind: str) -> dict[str, Any]:
    """Change the file at a commit of a migration: SQL has the old state then, or the new one."""
    violations, seen, new = [], {"old": 0, "new": 0}, ""
    change = {"store": save, "rewrite": rewrite}[kind]
    older = site.base.with_name(f"{site.base.name}-older")
    shutil.move(site.base, older)
    for number in [0, *rounds]:
        site.database.back(START)
        shutil.rmtree(site.base, ignore_errors=True)
        shutil.copytree(older, site.base)
        if not number:
            change(site.base)
            site.migrate()
            new = content(site.database)
            continue
        outcome = site.migrate(before=_changing(site.base, number, change))
        found = content(site.database)
        seen["old" if found == expected.content else "new"] += 1
        again = site.migrate()
        codes = (outcome.code, again.code) == (expected.code, expected.code)
        if found not in (new, expected.content) or content(site.database) != new or not codes:
            violations.append(f"changed before commit {number}: {outcome}, then {again}")
    return {"edits": len(rounds), **seen, "violations": violations}


def _changing(base: Path, number: int, change: Callable[[Path], None]) -> Callable[[], None]:
    def act(this: int, side: str) -> None:
        if (this, side) == (number, BEFORE):
            if pid := os.fork():
                os.waitpid(pid, 0)
                return
            change(base)
            os._exit(0)

    return lambda: at_each_commit(act)


def save(base: Path) -> None:
    """Change records at both ends of the file, by the store."""
    from msgspec.structs import replace

    from orbsite.stores import file_store
    from te.domain import DOMAIN
    from te.records import Reflection

    store = file_store(DOMAIN, base)
    found = store.find(Reflection)
    store.put([replace(one, input="changed") for one in (*found[:20], *found[-20:])])
    store.put([replace(found[0], id="fresh")])


def rewrite(base: Path) -> None:
    """Change every reflection, by another program."""
    tree = json.loads((base / TE).read_bytes())
    for items in tree["sessions"].values():
        for item in items:
            item["input"] = "changed"
    (new := base / "new").write_text(json.dumps(tree, indent=2))
    new.replace(base / TE)


def again(site: Site, expected: Reference, rounds: Sequence[int]) -> dict[str, Any]:
    """Migrate once more with nothing changed, then with some records changed: only their rows are written."""
    violations, changes = [], 0
    data = (site.base / TE).read_bytes()
    for seed in rounds:
        site.database.back(START)
        (site.base / TE).write_bytes(data)
        site.migrate()
        before = versions(site)
        problems = expected.problems_of_another(site, site.migrate())
        if versions(site) != before:
            problems.append("rows were written though nothing has changed")
        changed = change_some(site.base / TE, random.Random(seed))
        outcome = site.migrate()
        written = {key for key, version in versions(site).items() if before.get(key) != version}
        counts = totals(outcome.report["domains"])["reflections"]
        if written != changed or counts.get("replaced") != len(changed):
            problems.append(f"{len(written)} rows were written for {len(changed)} changes: {outcome}")
        changes += len(changed)
        violations += [f"seed {seed}: {one}" for one in problems]
    return {"rounds": len(rounds), "changes": changes, "violations": violations}


def change_some(path: Path, draw: random.Random) -> set[tuple[str, ...]]:
    """Change some reflections in the file that nobody has edited in SQL; return their keys."""
    tree = json.loads(path.read_bytes())
    owners = {session: user for user, sessions in tree["userSessions"].items() for session in sessions}
    items = [(owners[name], item) for name, session in list(tree["sessions"].items())[3:-1] for item in session[30:]]
    chosen = draw.sample(items, draw.randint(1, 60))
    for _, item in chosen:
        item["notes"] = "changed"
    path.write_text(json.dumps(tree))
    return {("te_reflections", user, item["id"]) for user, item in chosen}


def versions(site: Site) -> dict[tuple[str, ...], str]:
    """Return what changes with each row that is written, be it by what was there before."""
    found = {(table, *key_of(row)): repr(row) for table, rows in whole(site.database).items() for row in rows}
    if isinstance(site.database, Sqlite):
        return found  # it holds the run that wrote it
    for table, kept in whole(site.database, "xmin::text, ctid::text, *").items():
        found |= {(table, *key_of(row)): repr((row["xmin"], row["ctid"])) for row in kept}
    return found


def main() -> None:
    kind, work, database, seed, rounds = sys.argv[1:6]
    with prepared(database, Path(work)) as site:
        expected = reference(site)
        every = [int(seed) * 1000 + number for number in range(int(rounds))]
        if kind in ("store", "rewrite"):
            every = [*range(1, expected.commits + 1, 2 if database == "sqlite" else 5)]

        def work_on(number: int, mine: Sequence[int]) -> dict[str, Any]:
            own = its_own(site, number)
            if kind in ("store", "rewrite"):
                return edited(own, expected, mine, kind)
            return {"two": two, "again": again}[kind](own, expected, mine)

        result = spread(every, work_on)
    print(json.dumps(result))  # noqa: T201


if __name__ == "__main__":
    main()
