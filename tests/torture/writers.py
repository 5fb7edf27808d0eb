"""Writers side by side in SQL: python -m tests.torture.writers MODE DIRECTORY DATABASE SEED WRITERS SAVES [MUTANT].

MODE is what each of the writers does, so many times: raise a counter that all share, in turn with new records (count); raise one of a few
(few); save records of two kinds in an order that no other writer has (crossing); or raise a counter while the connection is cut at each
commit (cut). With -threads at its end, the writers are threads of one process. Prints a JSON object.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django

from tests.torture.databases import Database, opened

FEW = 3
COUNTING = "ana"
"""The user whose reflections are counters."""
OPTIONS: dict[str, dict[str, Any]] = {
    "sqlite": {},
    "sqlite-impatient": {"timeout": 0.02},
    "postgresql": {},
    "postgresql-serializable": {"isolation_level": 4},
}


class Log:
    """What one writer met."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.retries: list[int] = []

    def attempts(self) -> Any:
        from orbsite.storage.sql.retry import TransactionRetry

        def sleep(seconds: float) -> None:
            self.retries[-1] += 1
            time.sleep(seconds)

        return TransactionRetry("default", sleep=sleep)

    def save(self, act: Callable[[], Any]) -> bool:
        """Save until it is done; tell whether it was, and was no conflict."""
        from orbsite.storage.errors import Conflict, LockTimeout

        while True:
            self.retries.append(0)
            began = time.monotonic()
            try:
                act()
            except LockTimeout:
                self.counts["given up"] += 1
                continue
            except Conflict:
                self.counts["conflicts"] += 1
                return False
            finally:
                self.seconds.append(time.monotonic() - began)
            self.counts["saves"] += 1
            return True


def store(log: Log, domain: str) -> Any:
    from luna.domain import DOMAIN as LUNA
    from orbsite.storage.sql.store import SqlStore
    from te.domain import DOMAIN as TE

    found = SqlStore({"luna": LUNA, "te": TE}[domain])
    found._attempts = log.attempts()
    return found


def raise_one(log: Log, name: str, *, naively: bool = False) -> None:
    """Add one to a counter, however often somebody else is faster."""
    from msgspec.structs import replace

    from orbsite.storage.records.digest import digest
    from te.records import Reflection

    log_of = store(log, "te")
    while True:
        (old,) = log_of.fetch(Reflection, [(COUNTING, name)]).values()
        new = replace(old, input=str(int(old.input) + 1))
        if log.save(lambda old=old, new=new: log_of.put([new], expect=None if naively else digest(old))):
            return


def few(log: Log, writer: int, saves: int, draw: random.Random, mutant: str) -> None:
    for _ in range(saves):
        raise_one(log, f"counter-{draw.randrange(FEW)}", naively=mutant == "naive")


def count(log: Log, writer: int, saves: int, draw: random.Random, mutant: str) -> None:
    from tests.support.factories import ReflectionFactory

    records = store(log, "te")
    for number in range(saves // 2):
        log.save(lambda number=number: records.put([ReflectionFactory(id=f"w{writer}-{number}")]))
        raise_one(log, "counter-0", naively=mutant == "naive")


def crossing(log: Log, writer: int, saves: int, draw: random.Random, mutant: str) -> None:
    from orbsite.storage.sql import store as sql
    from tests.support.factories import ActiveModeFactory, ProfileFactory

    by_kind = sql.by_kind
    if writer % 2:
        sql.by_kind = lambda records: iter([*by_kind(records)][::-1])
    profiles = store(log, "luna")
    for number in range(saves):
        name = f"w{writer}-{number}"
        shared = [ProfileFactory(mode_id="shared", preferences=(name,)), ActiveModeFactory(user_id="ana", mode_id=name)]
        log.save(lambda shared=shared, name=name: profiles.put([*shared, ProfileFactory(mode_id=name)]))


ACTS = {"few": few, "count": count, "crossing": crossing}


def forked(act: Callable[[int, Log], None], writers: int) -> Iterator[Log]:
    """Let processes write, and yield what each met."""
    from django.db import connections

    connections.close_all()
    reading = [start(act, number) for number in range(writers)]
    for pid, pipe in reading:
        with os.fdopen(pipe) as file:
            said = json.loads(file.read() or "{}")
        os.waitpid(pid, 0)
        log = Log()
        log.counts, log.seconds = Counter(said.get("counts", {"failed": 1})), said.get("seconds", [])
        log.retries = said.get("retries", [])
        yield log


def start(act: Callable[[int, Log], None], number: int) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    log = Log()
    try:
        act(number, log)
        os.write(writing, json.dumps({"counts": log.counts, "seconds": log.seconds, "retries": log.retries}).encode())
    except BaseException:  # noqa: BLE001 -- a fork never returns into its parent's code
        traceback.print_exc()
    finally:
        os._exit(0)


def threaded(act: Callable[[int, Log], None], writers: int) -> Iterator[Log]:
    """Let threads write."""
    from django.db import connections

    logs = [Log() for _ in range(writers)]

    def run(number: int) -> None:
        try:
            act(number, logs[number])
        except Exception:  # noqa: BLE001 -- it is reported, as that of a process is
            traceback.print_exc()
            logs[number].counts["failed"] += 1
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield from logs


def settle_on(database: Database, options: dict[str, Any]) -> None:
    """Set up Django as the project does, with some options more, and make the tables."""
    os.environ |= {
        "DATABASE_URL": database.address,
        "SECRET_KEY": "for-tests-alone-Yq3VbX7mWc9LkT2pRz8NsHd5GfJu4EaQwS6yDxB1",
        "DEBUG": "false",
    }
    os.environ["DJANGO_SETTINGS_MODULE"] = "orbsite.settings"
    django.setup()
    from django.core.management import call_command
    from django.db import connections

    wanted = connections.databases["default"]["OPTIONS"]
    if "options" in wanted:
        wanted["options"] += " -c deadlock_timeout=20ms"  # a second each is long where there are many
    call_command("migrate", verbosity=0)
    wanted |= options
    connections.close_all()


def missing(mode: str, writers: int, saves: int) -> int:
    """Return how much of what was saved is not there, or there twice."""
    from luna.records import ActiveMode, Profile
    from te.records import Reflection

    log = Log()
    if mode == "crossing":
        profiles = {one.mode_id: one for one in store(log, "luna").find(Profile)}
        expected = {f"w{writer}-{number}" for writer in range(writers) for number in range(saves)}
        (active,) = store(log, "luna").find(ActiveMode)
        torn = profiles["shared"].preferences != (active.mode_id,)
        return len(expected ^ (profiles.keys() - {"shared"})) + torn
    kept = {one.id: int(one.input) for one in store(log, "te").find(Reflection) if one.id.startswith("counter")}
    others = {one.id for one in store(log, "te").find(Reflection)} - kept.keys()
    half = saves // 2 if mode == "count" else saves
    new = {f"w{writer}-{number}" for writer in range(writers) for number in range(half)} if mode == "count" else set()
    return len(new ^ others) + abs(writers * half - sum(kept.values()))


def main() -> None:
    mode, work, kind, seed, writers, saves, *mutant = sys.argv[1:]
    with opened(kind.split("-")[0], Path(work)) as database:
        settle_on(database, OPTIONS[kind])
        from tests.support.factories import ReflectionFactory

        begin = Log()
        begin.save(
            lambda: store(begin, "te").put(
                [ReflectionFactory(id=f"counter-{n}", user_id=COUNTING, input="0") for n in range(FEW)]
            )
        )
        act, run = ACTS[mode.removesuffix("-threads")], threaded if mode.endswith("-threads") else forked
        begun = time.monotonic()
        logs = [
            *run(
                lambda number, log: act(log, number, int(saves), random.Random(f"{seed} {number}"), "".join(mutant)),
                int(writers),
            )
        ]
        took = time.monotonic() - begun
        seconds = sorted(second for log in logs for second in log.seconds)
        retries = [retry for log in logs for retry in log.retries]
        counts: Counter[str] = sum((log.counts for log in logs), Counter())
        lost = missing(mode.removesuffix("-threads"), int(writers), int(saves))
    figures = {
        "retries": sum(retries),
        "most retries": max(retries),
        "p99": round(seconds[len(seconds) * 99 // 100], 3),
    }
    violations = [f"{lost} missing"] * bool(lost) + [f"{counts['failed']} failed"] * bool(counts["failed"])
    print(json.dumps({**counts, **figures, "took": round(took, 1), "missing": lost, "violations": violations}))  # noqa: T201


if __name__ == "__main__":
    main()
