"""Runs that overlap, in processes of their own: python -m tests.support.overlapping KIND DIRECTORY ROUNDS. Prints a JSON object.

KIND is a kind of name by which one of two migrations knows the SQLite database of the other; postgresql, where both know one name; or lost, where a
migration loses its connection to PostgreSQL half way, and connects again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from tests.torture.databases import Sqlite, migrated
from tests.torture.migrator import Outcome, Site
from tests.torture.stage import settle_on

Name = Callable[[Path], str]


def linked(path: Path) -> str:
    other = path.with_name("linked.sqlite3")
    other.symlink_to(path.name)
    return str(other)


def in_a_linked_directory(path: Path) -> str:
    other = path.parent.with_name("linked")
    other.symlink_to(path.parent)
    return str(other / path.name)


def twice(path: Path) -> str:
    other = path.with_name("twice.sqlite3")
    other.hardlink_to(path)
    return str(other)


def roundabout(path: Path) -> str:
    return f"{path.parent}/../{path.parent.name}/./{path.name}"


def relative(path: Path) -> str:
    return os.path.relpath(path)


def as_uri(path: Path) -> str:
    return f"{path.as_uri()}?mode=rw"


KINDS: dict[str, tuple[str, Name]] = {
    "plain": ("data", str),
    "memory": ("in memory of", str),
    "mode=memory": ("file:mode=memory", str),
    "symlink": ("data", linked),
    "linked directory": ("data", in_a_linked_directory),
    "hard link": ("data", twice),
    "roundabout": ("data", roundabout),
    "relative": ("data", relative),
    "uri": ("an odd? directory#%20é", as_uri),
}
"""The directory in which the database is, and how another program names it."""


def overlap(site: Site, other: dict[str, Any]) -> tuple[Outcome, Outcome | None]:
    """Hold a migration after its first batch, and run another one meanwhile, where the first did not end before."""
    reached, says = os.pipe()
    waits, lets_go = os.pipe()

    def before() -> None:
        os.close(reached)
        os.close(lets_go)
        _after_a_batch(lambda: os.write(says, b"x") and os.read(waits, 1))

    first = site.start_migration(before=before)
    for one in (says, waits):
        os.close(one)
    is_held = bool(os.read(reached, 1))
    second = site.migrate(before=lambda: [os.close(one) for one in (reached, lets_go)], **other) if is_held else None
    for one in (reached, lets_go):
        os.close(one)
    return first.wait(), second


def _after_a_batch(act: Callable[[], object], number: int = 1) -> None:
    """Do something once, after a transaction of a migration."""
    from orbsite.operations.migration.loader import Loader

    transaction, numbers = Loader._transaction, count(1)

    def around(move: Loader, *arguments: Any) -> None:
        transaction(move, *arguments)
        if next(numbers) == number:
            act()

    Loader._transaction = around


def pairs(site: Site, kind: str, other: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Let two overlap, over and over."""
    result: dict[str, Any] = {"rounds": rounds, "together": 0, "refused": 0, "wrong": []}
    for _ in range(rounds):
        first, second = overlap(site, other)
        result["refused"] += [first, second].count(None) + sum(one.is_clear for one in (first, second) if one)
        if second is None:  # nothing was held: the first was refused
            result["wrong"] += [] if first.is_clear and "2 names (hard links)" in first.out else [str(first)]
            last = site.migrate(**other)
            result["wrong"] += [] if last.is_clear and "2 names (hard links)" in last.out else [str(last)]
            continue
        result["together"] += second.code in (0, 1)
        result["wrong"] += [] if second.is_clear and "another run" in second.out else [str(second)]
        result["wrong"] += [] if first.code == 0 else [str(first)]
    result["runs"] = len(site.database.query("SELECT id FROM orb_runs"))
    return result


def lost(site: Site) -> dict[str, Any]:
    """Have a migration lose its connection after a batch; then run it again."""

    def before() -> None:
        from django.db import connection

        _after_a_batch(connection.close, 3)

    first = site.migrate(before=before)
    rows = site.database.query("SELECT id FROM te_reflections")
    (run,) = site.database.query("SELECT state FROM orb_runs")
    again = site.migrate()
    states = [one["state"] for one in site.database.query("SELECT state FROM orb_runs ORDER BY id")]
    return {
        "code": first.code,
        "told": first.is_clear and "was lost" in first.out,
        "rows": len(rows),
        "state": run["state"],
        "again": again.code,
        "states": states,
        "all": len(site.database.query("SELECT id FROM te_reflections")),
    }


def main() -> None:
    kind, work, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    directory, name = KINDS.get(kind, ("data", str))
    (work / directory).mkdir(parents=True)
    os.environ["ORB_BACKUP_DIR"] = str(work / "backups")
    with migrated("sqlite" if kind in KINDS else "postgresql", work / directory) as database:
        settle_on(database)
        site = Site(work / "files", database, options=("--no-backup", "--only", "te"), batch=2)
        _write(site.base)
        if kind == "lost":
            result = lost(site)
        else:
            path = database._path if isinstance(database, Sqlite) else None
            result = pairs(site, kind, {"NAME": name(path)} if path else {}, rounds)
    print(json.dumps(result))  # noqa: T201


def _write(base: Path) -> None:
    items = [
        {"id": f"r{at}", "input": "i", "output": "o", "tags": [], "createdAt": "2024-01-01T00:00:00.000Z"}
        for at in range(6)
    ]
    (base / "te").mkdir(parents=True, mode=0o700)
    base.chmod(0o700)
    path = base / "te" / "reflections.json"
    path.write_text(json.dumps({"sessions": {"s": items}, "userSessions": {"ana": ["s"]}}))
    path.chmod(0o600)


if __name__ == "__main__":
    main()
