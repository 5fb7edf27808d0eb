"""What lies there before a migration is disturbed, and what it must have come to in the end.

An earlier run has taken an older state of the files, and some rows were edited since: of what the files hold now, some
is new, some unchanged, some replaced, some kept, and two reflections are damaged.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django

from tests.torture.databases import Database, Postgresql, Row, opened
from tests.torture.migrator import Outcome, Site, content, counted, ledger

SAMPLE = Path(__file__).parents[2] / "sample/.orb-data"
LUNA, TE = "luna/profiles.json", "te/reflections.json"
SIZE = int(os.environ.get("ORB_SIZE", "2000"))
EDITED = 5
START = "start"


@dataclass
class Reference:
    """What a migration comes to that nothing disturbs."""

    code: int
    domains: dict[str, Any]
    content: str
    ledger: list[str]
    commits: int
    seconds: float

    def problems(self, site: Site, outcome: Outcome) -> list[str]:
        """Tell what is different after the migration that ended last."""
        if (outcome.code, outcome.report.get("domains")) != (self.code, self.domains):
            return [f"not as without a fault: {outcome}"]
        runs = site.database.query("SELECT * FROM orb_runs WHERE operation = 'migrate' ORDER BY id")
        last = runs[-1]
        written = site.database.query(
            "SELECT DISTINCT orb_runs.id AS run FROM te_reflections LEFT JOIN orb_runs ON orb_runs.uid = run_id"
        )
        checks = {
            "other rows in SQL": content(site.database) == self.content,
            "another ledger": ledger(site.database) == self.ledger,
            "other runs wrote rows": {one["run"] for one in written} <= {1, last["id"], None},
            "a run that never ended": [one["state"] for one in runs].count("running") == 0,
            "it did not complete": last["state"] == "complete",
            "counts that do not add up": adds_up(self.domains) and counts_in(last) == totals(self.domains),
        }
        return [what for what, is_right in checks.items() if not is_right]

    def problems_of_another(self, site: Site, outcome: Outcome) -> list[str]:
        """Tell what is wrong where there was nothing left to do."""
        found = totals(outcome.report.get("domains", {}))
        wrote = [kind for kind, counts in found.items() if {"new", "replaced"} & counts.keys()]
        right = outcome.code == self.code and found and not wrote and content(site.database) == self.content
        return [] if right else [f"not as when nothing is left to do: {outcome}"]


@contextmanager
def prepared(kind: str, work: Path) -> Iterator[Site]:
    """Have a site whose database can be put back to the start; forks make sites of their own with `its_own`."""
    with opened(kind, work) as database:
        os.environ["ORB_BACKUP_DIR"] = str(work / "backups")
        settle_on(database)
        site = Site(work / "data", database)
        older, newer = trees()
        write(site.base, older)
        if (done := site.run("migrate", "--verbosity", "0")).code or (done := site.migrate()).code:
            raise RuntimeError(f"the start cannot be made: {done}")
        edit(database)
        database.keep(START)
        write(site.base, newer)
        yield its_own(site, -1)  # in another directory than the start's, as the forks' sites are


def settle_on(database: Database) -> None:
    """Set up Django with a database, once in a process; what forks need is imported before they are made."""
    chosen = {
        "DATABASE_URL": database.address,
        "SECRET_KEY": "for-tests-alone-Yq3VbX7mWc9LkT2pRz8NsHd5GfJu4EaQwS6yDxB1",
        "DEBUG": "false",
        "ORB_JOURNAL": "never",
    }
    os.environ |= chosen | {"DJANGO_SETTINGS_MODULE": "orbsite.settings", "ORB_PERSISTENCE": "file"}
    django.setup()
    from django.db import connection

    import orbsite.management.commands.migrate_orb_files
    import orbsite.management.commands.rollback_orb_migration  # noqa: F401

    connection.ensure_connection  # noqa: B018 -- loads the driver


def its_own(site: Site, number: int) -> Site:
    """Return a site of its own for a fork, with the same files."""
    base = Path(shutil.copytree(site.base, site.base.with_name(f"data-{number + 1}")))
    return Site(base, site.database.sibling(number + 1), site.batch, site.options)


def reference(site: Site) -> Reference:
    """Migrate with nothing in the way."""
    notes = site.base.with_name("commits")
    site.database.back(START)
    outcome = site.migrate(before=counted(notes))
    commits = notes.read_bytes().count(b"b")
    site.database.back(START)
    begin = time.monotonic()
    if site.migrate().code != outcome.code or outcome.code not in (0, 1):
        raise RuntimeError(f"a migration ends now so and now so, or never well: {outcome}")
    seconds = time.monotonic() - begin
    found = Reference(outcome.code, outcome.report["domains"], "", [], commits, seconds)
    found.content, found.ledger = content(site.database), ledger(site.database)
    return found


def trees() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the older and the newer state of both files."""
    from benchmarks.reflections import make

    newer = {LUNA: json.loads((SAMPLE / LUNA).read_bytes()), TE: json.loads(make(SIZE))}
    older = copy.deepcopy(newer)
    for number, (user, one) in enumerate(list(older[LUNA].items())):
        if number % 4 == 0:
            del older[LUNA][user]
        elif number % 4 == 1:
            for profile in one["profiles"].values():
                profile.update(preferences=["before"], updatedAt="2001-01-01T00:00:00.000Z")
    for items in older[TE]["sessions"].values():
        del items[30:]
        for item in items[3:7]:
            item["notes"] = "before"
    sessions = [*newer[TE]["sessions"].values()]
    sessions[1][40]["createdAt"] = sessions[-1][5]["tags"] = "soon"
    sessions[2].append(sessions[2][0])
    return older, newer


def edit(database: Database) -> None:
    """Edit rows as somebody would by hand: a migration keeps them."""
    chosen = f"SELECT id FROM te_reflections WHERE notes = 'before' ORDER BY id LIMIT {EDITED}"
    if database.execute(f"UPDATE te_reflections SET notes = 'mine' WHERE id IN ({chosen})") != EDITED:
        raise RuntimeError("there is nothing to edit")


def write(base: Path, files: dict[str, Any]) -> None:
    """Write files as another program would, each in one piece."""
    for name, tree in files.items():
        path = base / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (new := path.with_name("new")).write_text(json.dumps(tree))
        new.replace(path)


def totals(domains: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Return what was counted of each kind, without zeros."""
    kinds = {kind: counts for one in domains.values() for kind, counts in one.get("kinds", {}).items()}
    return {kind: {what: number for what, number in counts.items() if number} for kind, counts in kinds.items()}


def adds_up(domains: dict[str, Any]) -> bool:
    """Tell whether everything that was read became something."""
    return all(counts["read"] == sum(counts.values()) - counts["read"] for counts in totals(domains).values())


def counts_in(run: Row) -> dict[str, dict[str, int]]:
    kept = json.loads(run["counts"]) if isinstance(run["counts"], str) else run["counts"]
    return {kind: {w: n for w, n in counts.items() if n} for kinds in kept.values() for kind, counts in kinds.items()}


def going_on(site: Site, expected: Reference) -> list[str]:
    """Run again, to the end, and tell what is wrong then."""
    site.database.settle()
    (last,) = site.database.query("SELECT state, operation FROM orb_runs ORDER BY id DESC LIMIT 1")
    outcome = site.migrate()
    if (last["state"], last["operation"]) == ("complete", "migrate") and _is_second(site):
        return expected.problems_of_another(site, outcome)  # it was disturbed when all was done
    return expected.problems(site, outcome)


def _is_second(site: Site) -> bool:
    (found,) = site.database.query("SELECT COUNT(*) AS number FROM orb_runs WHERE operation = 'migrate'")
    return int(found["number"]) > 2  # the older state's, the one that was disturbed, and the one that came then


def server_of(site: Site) -> Postgresql:
    """Return the site's database where it has a server."""
    if not isinstance(site.database, Postgresql):
        raise TypeError(site.database)
    return site.database


Round = Callable[[Site, Reference, Any], list[str]]
