"""Measures retention by whole partitions against retention by rows, and what partitions cost saves and reads.

python -m benchmarks.partitions [NUMBER OF REFLECTIONS]

The same rows are in three databases of one PostgreSQL server: for the bare statement that deletes what is too old, for
retention by rows, and for retention in a table that is partitioned by month.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from benchmarks import figures
from benchmarks.compaction import DAYS, NOW, some
from benchmarks.figures import Figure, figure
from benchmarks.processes import database, fresh, step
from benchmarks.timing import seconds

TITLE = "Retention by partitions"
NOTES = """
Reflections of a year; those older than 90 days go. Each way keeps the same rows, which is checked by their keys. A row
is removed with a tombstone, a partition is detached and stays a table for the undo window. The log is what replicas
and archives receive. Saves and reads are of the store, one after the other; a read returns the latest hundred of a
user.

A save looks for its row in each partition, because only the time tells them apart, and its key is entered into a table
of keys by a trigger.
"""
SIZE, ROUNDS, REQUESTS = 100_000, 3, 300
YEAR, OLDEST = 365, 90
WAYS = ("raw", "rows", "partitions")
RAW = "DELETE FROM te_reflections WHERE created_at < %s"


def fill(number: int) -> dict[str, Any]:
    """Write the reflections of a year into the table."""
    import msgspec

    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.records import Reflection

    store = open_sql_store(DOMAIN)
    for part in some(number):
        aged = [msgspec.structs.replace(one, created_at=NOW - (NOW - one.created_at) * (YEAR / DAYS)) for one in part]
        with store.transaction():
            store.insert(store.make_batch(Reflection, aged, [None] * len(aged)), range(len(aged)), None)
    _run("VACUUM ANALYZE")
    return {}


def raw(_: int) -> dict[str, Any]:
    """Delete the rows that are too old by one statement, which keeps nothing."""
    return _removal(partial(_run, RAW, NOW - timedelta(days=OLDEST)))


def rows(_: int) -> dict[str, Any]:
    """Apply retention, and measure saves and reads before."""
    return _requests() | _removal(_retain)


def partitions(_: int) -> dict[str, Any]:
    """Partition the table, then do the same."""
    from orbsite.operations.scaling.partitions import split
    from orbsite.storage.partitions import Period
    from te.domain import DOMAIN

    took = seconds(lambda: split([DOMAIN], period=Period.MONTH, apply=True, now=NOW))
    _run("VACUUM ANALYZE")
    return {"split": took} | _requests() | _removal(_retain)


def _retain() -> None:
    from orbsite.operations.retention.apply import retain
    from orbsite.storage.retention.policy import Policy
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN

    retain([open_sql_store(DOMAIN)], Policy(max_age_days=OLDEST), now=lambda: NOW, force=True)


def _removal(act: Callable[[], object]) -> dict[str, Any]:
    """Return the seconds of a removal, the bytes that it has logged, and a sum of the keys that stay."""
    _run("CHECKPOINT")
    before = _one("SELECT pg_current_wal_lsn()::text")
    took = seconds(act)
    logged = _one("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s)::bigint", before)
    left = _one("SELECT md5(string_agg(user_id || id, ',' ORDER BY user_id, id)) FROM te_reflections")
    return {"seconds": took, "logged": int(logged), "left": left}


def _requests() -> dict[str, list[float]]:
    import msgspec

    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.records import Reflection

    store, one = open_sql_store(DOMAIN), next(some(1))[0]
    new = [msgspec.structs.replace(one, id=f"new-{number}", created_at=NOW) for number in range(REQUESTS)]
    store.put([one])
    store.find(Reflection, {"user_id": one.user_id}, limit=100)
    return {
        "saves": [seconds(partial(store.put, [record])) for record in new],
        "replaced": [seconds(partial(store.put, [msgspec.structs.replace(record, notes="n")])) for record in new],
        "reads": [seconds(partial(store.find, Reflection, {"user_id": one.user_id}, limit=100)) for _ in new],
    }


def _run(statement: str, *values: Any) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, list(values) or None)


def _one(statement: str, *values: Any) -> Any:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(statement, list(values) or None)
        return cursor.fetchone()[0]


STEPS = {"fill": fill, "raw": raw, "rows": rows, "partitions": partitions}


def collected(rounds: list[dict[str, dict[str, Any]]]) -> list[Figure]:
    """Return the figures of some rounds."""
    raw_seconds = statistics.median(one["raw"]["seconds"] for one in rounds)
    raw_bytes = statistics.median(one["raw"]["logged"] for one in rounds)
    found = [figure("one bare DELETE", [one["raw"]["seconds"] for one in rounds])]
    for way in WAYS[1:]:
        took = [one[way]["seconds"] for one in rounds]
        found.append(figure(f"retention by {way}", took, over=raw_seconds, peer="x the DELETE"))
    found.append(Figure(name="log of the DELETE", value=raw_bytes / 1e6, unit="MB"))
    for way in WAYS[1:]:
        logged = statistics.median(one[way]["logged"] for one in rounds)
        name = f"log of retention by {way}"
        found.append(
            Figure(name=name, value=logged / 1e6, unit="MB", ratio=logged / raw_bytes, peer="x that of the DELETE")
        )
    found.append(figure("partitioning the table", [one["partitions"]["split"] for one in rounds]))
    for name, what in (("saves", "a new record"), ("replaced", "a replaced record"), ("reads", "the latest hundred")):
        plain, parted = ([one for each in rounds for one in each[way][name]] for way in WAYS[1:])
        found.append(figure(f"{what}, without partitions", plain, "ms"))
        over = statistics.median(plain)
        found.append(figure(f"{what}, with partitions", parted, "ms", over=over, peer="x without"))
    return found


def main() -> None:
    """Measure all rounds."""
    if sys.argv[1:2] and sys.argv[1] in STEPS:
        import django

        os.environ["DJANGO_SETTINGS_MODULE"] = "orbsite.settings"
        django.setup()
        print(json.dumps(STEPS[sys.argv[1]](int(sys.argv[2]))))
        return
    from tests.support.postgresql import throwaway

    size = int(sys.argv[1]) if sys.argv[1:] else SIZE
    rounds = []
    with throwaway(fsync="on", full_page_writes="on") as server:
        for number in range(ROUNDS):
            round_ = {}
            for way in WAYS:
                url = database(server, f"{way}_{number}")
                fresh(url)
                step("benchmarks.partitions", "fill", size, url=url)
                round_[way] = step("benchmarks.partitions", way, size, url=url)
            if round_["rows"]["left"] != round_["partitions"]["left"]:
                raise SystemExit("retention by partitions has kept other rows than retention by rows")
            rounds.append(round_)
    figures.record("partitions", size, figures.POSTGRESQL, collected(rounds))


if __name__ == "__main__":
    main()
