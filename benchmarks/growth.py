"""Measures what a user costs in PostgreSQL: bytes of tables and indexes, log of a save, pages and time of a hot query.

python -m benchmarks.growth [NUMBER OF REFLECTIONS]

A user has 500 reflections in ten sessions, three profiles and an active mode, and the words of all are indexed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.compaction import some
from benchmarks.figures import Figure, figure
from benchmarks.processes import database, fresh, step
from benchmarks.reflections import SEED

TITLE = "What a user costs in PostgreSQL"
NOTES = """
Users of 500 reflections in ten sessions, three profiles and an active mode; the words of all are indexed. The first
saves are those after a checkpoint, which log whole pages. Pages are those that a hot query reads, all in memory.

A search of one user's reflections among 1,000,000 of 10,000 users, for a word that 1,024 of them have, read the words
of everybody: 26.3 ms for the page's statement. With the user beside the word it takes 0.21. Keys of several users
with their users beside them take 1.05 ms for 500 keys of 250 users, before 0.95.
"""
SIZE, OF_A_USER, SAVES = 100_000, 500, 1000
MODES = ("earth", "mars", "venus")
BYTES = "bytes"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = ("te_reflections", "orb_words", "luna_profiles", "luna_active_modes")
HOT = {
    "latest 100 of a user": "SELECT * FROM te_reflections WHERE user_id = %s "
    "ORDER BY created_at DESC, id DESC LIMIT 100",
    "one by its key": "SELECT * FROM te_reflections WHERE user_id = %s AND id = (SELECT max(id) FROM te_reflections "
    "WHERE user_id = %s)",
    "latest 100 of a session": "SELECT * FROM te_reflections WHERE user_id = %s AND session_id = 'session-1' "
    "ORDER BY created_at DESC, id DESC LIMIT 100",
    "profiles of a user": "SELECT * FROM luna_profiles WHERE user_id = %s",
    "rows with a word": "SELECT key FROM orb_words WHERE user_id = %s AND vector @@ '''kitchen'''::tsquery",
}


def measure(number: int) -> dict[str, Any]:
    """Fill the tables, and return what they take."""
    from django.db import connection

    users = _fill(number)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        sizes = {table: _sizes(cursor, table) for table in TABLES}
        log = {what: _log(cursor, save) for what, save in _saves(number).items()}
        hot = {what: _hot(cursor, statement) for what, statement in HOT.items()}
    return {"users": users, "sizes": sizes, "log": log, "hot": hot}


def _fill(number: int) -> int:
    from luna.domain import DOMAIN as LUNA
    from luna.presets import new_profile
    from luna.records import ActiveMode
    from orbsite.operations.search_index import index
    from orbsite.storage.clock import utc_now
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN as TE
    from te.records import Reflection

    store, users = open_sql_store(TE), number // OF_A_USER
    for part in some(number):
        owned = [_of_user(record, at, users) for at, record in enumerate(part)]
        store.insert(store.make_batch(Reflection, owned, [None] * len(owned)), range(len(owned)), None)
    names = [f"user-{at}" for at in range(users)]
    profiles = [new_profile(name, mode, NOW) for name in names for mode in MODES]
    active = [ActiveMode(user_id=name, mode_id="mars", updated_at=NOW) for name in names]
    open_sql_store(LUNA).put([*profiles, *active])
    index([TE], now=utc_now)
    return users


def _of_user(record: Any, at: int, users: int) -> Any:
    import msgspec

    return msgspec.structs.replace(record, user_id=f"user-{at % users}", session_id=f"session-{at // users % 10}")


def _sizes(cursor: Any, table: str) -> dict[str, float]:
    cursor.execute(
        "SELECT count(*), pg_table_size(%s::regclass), pg_indexes_size(%s::regclass) "
        f"FROM {table}", [table, table],
    )  # fmt: skip
    rows, own, indexes = cursor.fetchone()
    return {"rows": rows, "table": own / rows, "indexes": indexes / rows}


def _saves(number: int) -> dict[str, Callable[[int], object]]:
    from luna.domain import DOMAIN as LUNA
    from luna.presets import new_profile
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN as TE

    te, luna, records = open_sql_store(TE), open_sql_store(LUNA), next(some(max(number, SAVES)))
    import msgspec

    def new(at: int) -> None:
        te.put([msgspec.structs.replace(records[at], id=f"new-{at}", user_id=f"user-{at % (number // OF_A_USER)}")])

    def replaced(at: int) -> None:
        user = f"user-{at % (number // OF_A_USER)}"
        te.put([msgspec.structs.replace(records[at], id=f"new-{at}", user_id=user, notes="changed")])

    def profile(at: int) -> None:
        user = f"user-{at % (number // OF_A_USER)}"
        luna.put([msgspec.structs.replace(new_profile(user, "mars", NOW), preferences=(f"{at}",))])

    return {"a new reflection": new, "a replaced reflection": replaced, "a replaced profile": profile}


def _log(cursor: Any, save: Callable[[int], object]) -> dict[str, float]:
    """Return the bytes of log of a save: of the first ones after a checkpoint, which log whole pages, and later."""
    found: dict[str, float] = {}
    cursor.execute("CHECKPOINT")
    for when, start in (("first", 0), ("later", SAVES // 2)):
        before, began = _place(cursor), time.perf_counter()
        for at in range(start, start + SAVES // 2):
            save(at)
        found |= {when: (_place(cursor) - before) / (SAVES // 2)}
        found |= {f"{when} ms": (time.perf_counter() - began) * 1000 / (SAVES // 2)}
    return found


def _place(cursor: Any) -> int:
    cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
    return int(cursor.fetchone()[0])


def _hot(cursor: Any, statement: str) -> dict[str, float]:
    """Return the pages that a query reads, all of which are in memory, and its milliseconds on the server."""
    values = ["user-7"] * statement.count("%s")
    for _ in range(3):
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
        (told,) = cursor.fetchone()
    plan = (json.loads(told) if isinstance(told, str) else told)[0]
    return {"pages": plan["Plan"]["Shared Hit Blocks"], "ms": plan["Execution Time"]}


def main() -> None:
    """Measure in a process of its own, with a server whose commits reach the disk, and print the figures."""
    if sys.argv[1:2] == ["measure"]:
        import django

        os.environ["DJANGO_SETTINGS_MODULE"] = "orbsite.settings"
        django.setup()
        print(json.dumps(measure(int(sys.argv[2]))))
        return
    from tests.support.postgresql import throwaway

    number = int(sys.argv[1]) if sys.argv[1:] else SIZE
    print(f"seed {SEED}; Python {platform.python_version()}, psycopg {version('psycopg')}, {number:,} reflections")
    with tempfile.TemporaryDirectory(dir=".") as work, throwaway(fsync="on", full_page_writes="on") as server:
        url = database(server, "growth")
        fresh(url)
        found = step("benchmarks.growth", "measure", number, url=url, ORB_PERSISTENCE="sql", ORB_BACKUP_DIR=work)
        dump = Path(work) / "dump"
        began = time.perf_counter()
        subprocess.run(
            [server.binaries / "pg_dump", "-Fc", "-h", server.host, "-U", server.user, "-f", str(dump), "growth"],
            check=True,
        )
        found["dump"] = {"bytes": dump.stat().st_size, "seconds": time.perf_counter() - began}
    figures.record("growth", number, figures.POSTGRESQL, _figures(found))


def _figures(found: dict[str, Any]) -> list[Figure]:
    users, dump = found["users"], found["dump"]
    whole = sum((one["table"] + one["indexes"]) * one["rows"] for one in found["sizes"].values())
    return [
        Figure(name="a user in all tables", value=whole / users, unit=BYTES),
        Figure(name="a user in a compressed dump", value=dump["bytes"] / users, unit=BYTES),
        figure("the dump", dump["seconds"]),
        *(one for table, sizes in found["sizes"].items() for one in _row(table, sizes)),
        *(one for what, log in found["log"].items() for one in _save(what, log)),
        *(one for what, hot in found["hot"].items() for one in _query(what, hot)),
    ]


def _row(table: str, sizes: dict[str, float]) -> list[Figure]:
    return [
        Figure(name=f"`{table}`: a row", value=sizes["table"], unit=BYTES),
        Figure(name=f"`{table}`: its indexes", value=sizes["indexes"], unit=BYTES),
    ]


def _save(what: str, log: dict[str, float]) -> list[Figure]:
    half = SAVES // 2
    return [
        Figure(name=f"{what}: log of the first {half} saves, each", value=log["first"], unit=BYTES),
        Figure(name=f"{what}: log of the next {half} saves, each", value=log["later"], unit=BYTES),
        figure(f"{what}: the mean of these", log["later ms"] / 1e3, "ms"),
    ]


def _query(what: str, hot: dict[str, float]) -> list[Figure]:
    return [
        Figure(name=f"{what}: pages", value=hot["pages"], unit="pages"),
        figure(f"{what}: on the server", hot["ms"] / 1e3, "ms"),
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
