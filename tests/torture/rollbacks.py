"""Kills a rollback with -9: python -m tests.torture.rollbacks KIND DIRECTORY DATABASE. Prints a JSON object.

KIND is commits, where a run that created, replaced and kept rows is undone, and killed before and after each of its commits in turn; or stopped,
where the run was killed half way itself.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.torture.databases import Row
from tests.torture.migrator import AFTER, BEFORE, Outcome, Site, content, counted, key_of, killed_at, spread, whole
from tests.torture.stage import EDITED, START, Reference, counts_in, its_own, prepared, reference, totals

RUN = 2
UID = f"SELECT uid FROM orb_runs WHERE id = {RUN}"
DONE = "done"
"""What the database is called once the run to be undone has ended, and rows were edited after it."""

Rows = dict[tuple[str, ...], str]


def rows_of(site: Site) -> Rows:
    """Return every row of the data with all its columns, by table and key."""
    return {(table, *key_of(row)): _text(row) for table, rows in whole(site.database).items() for row in rows}


def _text(row: Row) -> str:
    return repr(sorted((name, str(value)) for name, value in row.items()))


def edit(site: Site) -> set[tuple[str, ...]]:
    """Edit rows that the run has created, and as many that it has replaced; return their keys."""
    replaced = [json.loads(one["key"])[-1] for one in _changes(site)]
    listed, others = _quoted(replaced[:EDITED]), _quoted(replaced)
    created = f"SELECT id FROM te_reflections WHERE run_id = ({UID}) AND id NOT IN ({others}) ORDER BY id"
    site.database.execute(
        f"UPDATE te_reflections SET notes = 'edited since' WHERE id IN ({listed}) OR id IN ({created} LIMIT {EDITED})"
    )
    found = site.database.query("SELECT user_id, id FROM te_reflections WHERE notes = 'edited since'")
    return {("te_reflections", *key_of(one)) for one in found}


def _changes(site: Site) -> list[Row]:
    return site.database.query(
        f"SELECT key FROM orb_changes WHERE run_id = {RUN} AND kind = 'reflections' ORDER BY key"
    )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def problems(site: Site, outcome: Outcome, before: Rows, edited: Rows, counts: dict[str, Any]) -> list[str]:
    """Tell what is wrong after a rollback: everything is as before the run, but for what was edited since.

    The ledger has the counts of one rollback, whole, as where nothing disturbs it.
    """
    found, wanted = rows_of(site), before | edited
    wrong = [key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key)]
    listed = [one["path"] for one in outcome.report.get("findings", []) if "was kept" in one["message"]]
    (run,) = site.database.query(f"SELECT state FROM orb_runs WHERE id = {RUN}")
    first, *others = site.database.query(  # others where it was killed when all was done
        "SELECT counts FROM orb_runs WHERE operation = 'rollback' AND state = 'complete' ORDER BY id"
    )
    told = (counts_in(first), counts if others else totals(outcome.report.get("domains", {})))
    checks = {
        f"counts that do not add up: {told}": told == (counts, counts),
        f"{len(wrong)} rows are wrong, such as {wrong[:1]}": not wrong,
        f"not told as it should be: {outcome}": outcome.code == bool(edited) and len(listed) == len(edited),
        "the run is not said to be undone": run["state"] == "rolled back",
        "it never ended": not site.database.query("SELECT 1 FROM orb_runs WHERE state = 'running'"),
    }
    return [what for what, is_right in checks.items() if not is_right]


def rollback(site: Site, **options: Any) -> Outcome:
    site.database.settle()
    return site.run("rollback_orb_migration", RUN, "--format", "json", **options)


def at_commits(
    site: Site, before: Rows, edited: Rows, counts: dict[str, Any], rounds: Sequence[tuple[int, str]]
) -> dict[str, Any]:
    """Kill a rollback before or after the commit of each number, and roll back again."""
    violations = []
    for number, when in rounds:
        site.database.back(DONE)
        outcome = rollback(site, before=killed_at(number, when))
        found = [] if outcome.code == -signal.SIGKILL else [f"it was not killed: {outcome}"]
        found = found or problems(site, rollback(site), before, edited, counts)
        violations += [f"killed {when} commit {number}: {one}" for one in found]
    return {"kills": len(rounds), "violations": violations}


def of_all(site: Site, expected: Reference) -> dict[str, Any]:
    """Roll back the run as a whole, and run it again; then kill rollbacks."""
    site.database.back(START)
    before = rows_of(site)
    site.migrate()
    keys = edit(site)
    edited = {key: row for key, row in rows_of(site).items() if key in keys}
    site.database.keep(DONE)
    notes = site.base.with_name("rollback")
    outcome = rollback(site, before=counted(notes))
    counts, wanted = totals(outcome.report["domains"]), totals(expected.domains)
    undone = sum(one.get(what, 0) for one in counts.values() for what in ("removed", "restored", "kept"))
    written = sum(one.get(what, 0) for one in wanted.values() for what in ("new", "replaced"))
    violations = problems(site, outcome, before, edited, counts)
    if undone != written or len(edited) != 2 * EDITED:
        violations.append(f"{written} rows were written, {undone} undone, {len(edited)} edited")
    again = totals(site.migrate().report["domains"])["reflections"]
    if (again["read"], again["new"]) != (wanted["reflections"]["read"], wanted["reflections"]["new"] - EDITED):
        violations.append(f"run again, it does something else: {again}")
    points = [(at, when) for at in range(1, notes.read_bytes().count(b"b") + 1) for when in (BEFORE, AFTER)]
    result = spread(points, lambda number, mine: at_commits(its_own(site, number), before, edited, counts, mine))
    result["violations"] = violations + result["violations"]
    return {"commits": len(points) // 2, "undone": undone, "edited": len(edited), **result}


def of_a_part(site: Site, expected: Reference, rounds: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Kill a run, kill its rollback, and then run it again: nothing is missing, or it is told, and the next brings it."""
    violations, told = [], 0
    for first, second in rounds:
        site.database.back(START)
        site.migrate(before=killed_at(first, AFTER))
        site.database.settle()
        rollback(site, before=killed_at(second, AFTER))
        site.database.settle()
        outcome = site.migrate()
        incomplete = "are not in SQL" in outcome.out
        told += incomplete
        if incomplete:
            outcome = site.migrate()
        found = [] if content(site.database) == expected.content else [f"other rows in SQL: {outcome}"]
        violations += [f"killed after commit {first}, its rollback after {second}: {one}" for one in found]
    return {"rounds": len(rounds), "told": told, "violations": violations}


def main() -> None:
    kind, work, database = sys.argv[1:4]
    with prepared(database, Path(work)) as site:
        expected = reference(site)
        if kind == "commits":
            result = of_all(site, expected)
        else:
            points = [(first, second) for first in (6, 10, 14) for second in (2, 4, 6)]
            result = dict(spread(points, lambda number, mine: of_a_part(its_own(site, number), expected, mine)))
    print(json.dumps(result))  # noqa: T201


if __name__ == "__main__":
    main()
