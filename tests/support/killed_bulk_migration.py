"""Kills workers of a bulk migration: python -m tests.support.killed_bulk_migration ROOT DIRECTORIES WORKERS KILLS SEED [queue].

Makes data directories, has that many worker processes migrate them into the database of DATABASE_URL, and kills one with -9 after draws of
directories, each time starting another one. With `queue`, the workers are those of the task queue, and maintenance hands them their jobs.
Prints a JSON object with what became of the directories, the runs and the records.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

from tests.support.time_limits import time_limit

EACH = 12
_PATIENCE = 120.0
_STALE_AFTER = timedelta(seconds=3)


def plant(root: Path, number: int) -> None:
    """Make a data directory of a user of its own, with reflections, profiles and an active mode."""
    user, moment = f"user-{number:04}", "2024-01-01T00:00:00.000Z"
    base = root / user / ".orb-data"
    profile = {"userId": user, "modeId": "mars", "preferences": [], "constraints": [], "updatedAt": moment}
    made = [
        {"id": f"{user}-{one}", "userId": user, "input": "i" * 50, "output": "o", "tags": [], "createdAt": moment}
        for one in range(EACH)
    ]
    documents = {
        "te/reflections.json": {"userSessions": {user: [f"s-{user}"]}, "sessions": {f"s-{user}": made}},
        "luna/profiles.json": {user: {"activeMode": "mars", "profiles": {"mars": profile}}},
    }
    for name, tree in documents.items():
        path = base / name
        path.parent.mkdir(mode=0o700, parents=True)
        path.write_text(json.dumps(tree))
        path.chmod(0o600)
    base.chmod(0o700)


def started(act: Callable[[], Any]) -> int:
    """Start a worker, and return the number of its process."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        act()
    except SystemExit as end:
        os._exit(int(end.code or 0))
    except BaseException:  # noqa: BLE001 -- a fork never returns into its parent's code
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def one_of_many(root: Path) -> None:
    """Work as one of the processes that were started with the same command."""
    from django.core.management import call_command

    call_command("migrate_orb_files", "--each", str(root), "--no-backup")


def of_the_queue(root: Path) -> None:
    """Work as a worker of the task queue."""
    from django.core.management import call_command

    call_command("db_worker", "--interval", "0.1", "--no-reload")


class Crew:
    """The workers, of which each that ends or is killed has a successor while directories are left."""

    def __init__(self, root: Path, size: int, act: Callable[[Path], None], draw: random.Random) -> None:
        self._root, self._act, self._draw = root, act, draw
        self.codes: Counter[int] = Counter()
        self.in_the_middle = 0
        """How many were killed while they had a directory."""
        self._pids = [self._one() for _ in range(size)]

    def kill_one(self) -> None:
        from orbsite.models.bulk_migrations import BulkDirectory

        time.sleep(self._draw.uniform(0, 0.05))
        pid = self._pids.pop(self._draw.randrange(len(self._pids)))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.in_the_middle += BulkDirectory.objects.filter(state="running", worker__contains=f":{pid}:").exists()
        _close()
        self._pids.append(self._one())

    def reap(self) -> None:
        for pid in list(self._pids):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._pids.remove(pid)
                self.codes[os.waitstatus_to_exitcode(status)] += 1

    def end(self, deadline: float) -> None:
        while self._pids and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.02)
        self.kill_all()

    def kill_all(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._pids = []

    def _one(self) -> int:
        return started(lambda: self._act(self._root))


def _close() -> None:
    from django.db import connections

    connections.close_all()  # before a fork


def number_done() -> int:
    from orbsite.models.bulk_migrations import BulkDirectory

    return BulkDirectory.objects.filter(state="done").count()


def play(root: Path, directories: int, workers: int, kills: int, seed: int, *, by_queue: bool) -> dict[str, Any]:
    from orbsite.operations.bulk_migration.begin import Options, begin
    from orbsite.operations.bulk_migration.queue import set_workers
    from orbsite.operations.scheduling.maintenance import maintain
    from orbsite.storage.clock import utc_now

    draw = random.Random(seed)
    bulk, _ = begin(root, Options(), now=utc_now)
    if by_queue:
        set_workers(bulk, workers, now=utc_now)
    _close()
    crew = Crew(root, workers, of_the_queue if by_queue else one_of_many, draw)
    deadline, last = time.monotonic() + time_limit(_PATIENCE), time.monotonic()
    moments = sorted(draw.randrange(directories - 1) for _ in range(kills))
    while time.monotonic() < deadline and (done := number_done()) < directories:
        if moments and done >= moments[0]:
            del moments[0]
            crew.kill_one()
        elif by_queue and time.monotonic() - last > 1:
            maintain(now=utc_now, stale_after=_STALE_AFTER)
            last = time.monotonic()
        time.sleep(0.02)
    if by_queue:
        crew.kill_all()
    crew.end(deadline)
    return {"kills": kills - len(moments), "in the middle": crew.in_the_middle, "codes": sorted(crew.codes)}


def outcome() -> dict[str, Any]:
    """Return what is in the database in the end."""
    from luna.models import ActiveModeRow, ProfileRow
    from orbsite.models.bulk_migrations import BulkDirectory
    from orbsite.models.ledger import Change, Run, RunState
    from te.models import ReflectionRow

    complete = Run.objects.filter(state=RunState.COMPLETE)
    others = Run.objects.exclude(state=RunState.COMPLETE).values("uid")  # killed before their first commit
    counts = [kinds for run in complete for domains in run.counts.values() for kinds in domains.values()]
    checked = [kind for run in complete for domain in run.verification.values() for kind in domain.values()]
    return {
        "states": dict(Counter(BulkDirectory.objects.values_list("state", flat=True))),
        "tries": sorted(Counter(BulkDirectory.objects.values_list("tries", flat=True)).items()),
        "complete runs of a directory": sorted(set(Counter(complete.values_list("source", flat=True)).values())),
        "rows of runs that are not complete": sum(
            model.objects.filter(run_id__in=others).count() for model in (ReflectionRow, ProfileRow, ActiveModeRow)
        ),
        "runs of another directory": BulkDirectory.objects.exclude(run__in=complete).count(),
        "new": sum(one.get("new", 0) for one in counts),
        "written twice": sum(one.get("replaced", 0) for one in counts) + Change.objects.count(),
        "unverified": sum(one["unverified"] for one in checked),
        "rows": [model.objects.count() for model in (ReflectionRow, ProfileRow, ActiveModeRow)],
    }


def main() -> None:
    root, directories, workers, kills, seed = Path(sys.argv[1]), *map(int, sys.argv[2:6])
    django.setup()
    for number in range(directories):
        plant(root, number)
    result = play(root, directories, workers, kills, seed, by_queue=sys.argv[6:] == ["queue"])
    print(json.dumps({"seed": seed, **result, **outcome()}))  # noqa: T201


if __name__ == "__main__":
    main()
