"""Hosts that run maintenance over one database: a scene of two of them, one of which is killed in the middle of a run.

As a program, it is one host: python -m tests.support.hosts WORK loop|doomed|prepare|work|admin|cancel|again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django

from tests.support.time_limits import time_limit
from tests.torture.databases import Database

ROOT = Path(__file__).parents[2]
POLICIES, SESSIONS, EACH = 20, 4, 40
STALE_AFTER = 4.0
_PATIENCE = 90.0
_RUNS_BEFORE_DEATH = 5


def environment(address: str, **more: str) -> dict[str, str]:
    """Return where a program of the project works on a database."""
    chosen = {
        "DATABASE_URL": address,
        "SECRET_KEY": "for-tests-alone-Yq3VbX7mWc9LkT2pRz8NsHd5GfJu4EaQwS6yDxB1",
        "DEBUG": "true",
        "ORB_PERSISTENCE": "sql",
    }
    nowhere = {"ORB_DATA_DIR": "/nonexistent/orb-data"}
    return {
        **os.environ,
        **nowhere,
        **chosen,
        "DJANGO_SETTINGS_MODULE": "orbsite.settings",
        "ORB_TASKS_BACKEND": "db",
        **more,
    }


def manage(address: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "manage.py", *arguments]
    chosen = environment(address, **more)
    return subprocess.run(
        command, cwd=ROOT, env=chosen, capture_output=True, text=True, check=False, timeout=time_limit(120)
    )


@contextlib.contextmanager
def host(address: str, work: Path, verb: str) -> Iterator[subprocess.Popen[str]]:
    """Have a host; it is killed in the end, if it is still there."""
    command = [sys.executable, "-m", "tests.support.hosts", str(work), verb]
    with (work / f"{verb}.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(address), stdout=log, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(time_limit(_PATIENCE))


class Scenario:
    """What is to be seen of the hosts: lines of their own, and rows of the database."""

    def __init__(self, database: Database, work: Path) -> None:
        self._database, self._work = database, work

    def play(self, seconds: float) -> None:
        """Let two hosts work for so long; kill one in the middle of a run; let the other one finish."""
        address = self._database.address
        made = do(address, self._work, "prepare")
        if made.returncode:
            raise RuntimeError(made.stderr)
        with host(address, self._work, "loop") as survivor, host(address, self._work, "doomed") as doomed:
            self._until((self._work / "hangs").exists, survivor, doomed)
            doomed.kill()
            ends = time.monotonic() + seconds
            self._until(lambda: time.monotonic() > ends and self._is_recovered(), survivor)
            last = self._finished()
            self._until(lambda: all(number > last[key] for key, number in self._finished().items()), survivor)
            survivor.send_signal(signal.SIGTERM)
            if survivor.wait(time_limit(_PATIENCE)):
                raise RuntimeError((self._work / "loop.log").read_text())

    def runs(self) -> dict[int, list[dict[str, Any]]]:
        """Return the runs of each policy in the order of their due moments."""
        found = defaultdict(list)
        for row in self._database.query("SELECT * FROM orb_policy_runs ORDER BY slot"):
            found[row["policy_id"]].append(row | {"slot": _moment(row["slot"])})
        return found

    def calls(self) -> list[dict[str, Any]]:
        """Return every time that a host retained something: by which policy, from when until when."""
        lines = [line for path in self._work.glob("*.calls") for line in path.read_text().splitlines()]
        return sorted(map(json.loads, lines), key=lambda call: call["began"])

    def intervals(self) -> dict[int, timedelta]:
        """Return how often each policy is due."""
        rows = self._database.query("SELECT id, every FROM orb_policies")
        return {row["id"]: timedelta(seconds=row["every"]) for row in rows}

    def left(self) -> list[str]:
        """Return the ids of what is left."""
        return [row["id"] for row in self._database.query("SELECT id FROM te_reflections ORDER BY id")]

    def _is_recovered(self) -> bool:
        states = self._database.query("SELECT policy_id, state FROM orb_policy_runs ORDER BY id")
        failed = {row["policy_id"] for row in states if row["state"] == "failed"}
        last = {row["policy_id"]: row["state"] for row in states}
        return bool(failed) and all(last[key] == "done" for key in failed)

    def _finished(self) -> dict[int, int]:
        rows = self._database.query(
            "SELECT p.id, count(r.id) AS runs FROM orb_policies p LEFT JOIN orb_policy_runs r "
            "ON r.policy_id = p.id AND r.state = 'done' GROUP BY p.id"
        )
        return {row["id"]: row["runs"] for row in rows}

    def _until(self, is_so: Callable[[], bool], *hosts: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + time_limit(_PATIENCE * 2)
        while not is_so():
            if time.monotonic() > deadline or any(one.poll() is not None for one in hosts):
                raise RuntimeError("\n".join(path.read_text()[-3000:] for path in self._work.glob("*.log")))
            time.sleep(0.05)


def check(dataset: Scenario) -> None:
    """Each due moment ran once and on its own, the killed run failed, and what is left is what the policies say."""
    runs, calls, intervals = dataset.runs(), dataset.calls(), dataset.intervals()
    assert len(runs) == POLICIES
    failed = [run for found in runs.values() for run in found if run["state"] == "failed"]
    assert len(failed) == 1, failed
    assert "has sent no heartbeat" in failed[0]["error"]
    for policy, found in runs.items():
        for run, following in itertools.pairwise(found):
            assert following["slot"] - run["slot"] == (run["missed"] + 1) * intervals[policy], (run, following)
        done = [call for call in calls if call["policy"] == f"policy {policy}"]
        assert len(done) == len([run for run in found if run["state"] == "done"])
        for call, following in itertools.pairwise(done):
            assert call["ended"] <= following["began"], "two runs of a policy side by side"
    assert {call["host"] for call in calls} == {"loop", "doomed"}
    assert dataset.left() == sorted(
        f"{session}-{number:03}" for session in range(SESSIONS) for number in range(EACH - POLICIES, EACH)
    )


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def do(address: str, work: Path, verb: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of this program to its end."""
    command = [sys.executable, "-m", "tests.support.hosts", str(work), verb]
    chosen = environment(address, **more)
    return subprocess.run(
        command, cwd=ROOT, env=chosen, capture_output=True, text=True, check=False, timeout=time_limit(120)
    )


def prepare() -> None:
    """Have policies, each a little stricter than the one before and due at another pace, and what they are for."""
    from orbsite.models.retention import RetentionPolicy
    from orbsite.storage.clock import utc_now
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.records import Reflection

    now = utc_now()
    for number in range(POLICIES):
        RetentionPolicy.objects.create(
            name=f"policy {number}",
            domain="te",
            store="sql",
            rules={"max_per_session": EACH - 1 - number},
            force=True,
            every=1 + number % 3,
            next_due=now,
        )
    open_sql_store(DOMAIN).put(
        Reflection(
            id=f"{session}-{number:03}",
            user_id="ana",
            session_id=f"session {session}",
            input="i",
            output="o",
            tags=(),
            created_at=now - timedelta(minutes=EACH - number),
        )
        for session in range(SESSIONS)
        for number in range(EACH)
    )


def run(work: Path, name: str) -> None:
    """Maintain until somebody ends it; note each time that something was retained."""
    from orbsite.operations.progress import Progress
    from orbsite.operations.scheduling import maintenance as module
    from orbsite.storage.clock import utc_now

    progress = Progress()
    signal.signal(signal.SIGTERM, lambda *_: setattr(progress, "is_stopping", True))
    module.retain = _noted(module.retain, work, name)  # type: ignore[assignment]
    while not progress.is_stopping:
        stale_after = timedelta(seconds=STALE_AFTER)
        report = module.maintain(now=utc_now, stale_after=stale_after, beat=0.5, patience=2, progress=progress)
        for section in report.domains.values():
            for finding in section.findings:
                sys.stdout.write(f"{finding.path}: {finding.message}\n")
        sys.stdout.flush()
        time.sleep(0.05)


def _noted(retain: Any, work: Path, name: str) -> Any:
    """Return what retains, and writes down when; the doomed host hangs in the middle of its sixth time."""
    from orbsite.operations.progress import Progress

    numbers = itertools.count(1)

    class Hanging(Progress):
        def __call__(self, records: int) -> None:
            (work / "hangs").touch()
            time.sleep(time_limit(_PATIENCE * 4))

    def noted(stores: Any, policy: Any, **options: Any) -> Any:
        if name == "doomed" and next(numbers) > _RUNS_BEFORE_DEATH:
            options["progress"] = Hanging()
        began = time.monotonic()
        time.sleep(random.uniform(0, 0.04))
        report = retain(stores, policy, **options)
        if isinstance(options["progress"], Hanging):
            options["progress"](0)  # where there was nothing to remove
        call = {"host": name, "policy": options["actor"], "began": began, "ended": time.monotonic()}
        with (work / f"{name}.calls").open("a") as file:
            file.write(json.dumps(call) + "\n")
        return report

    return noted


def work() -> None:
    """Be a worker that validates until it is told to stop."""
    from django.core.management import call_command

    from orbsite.operations.jobs import catalog

    def validate(self: Any, place: Any) -> Any:
        while True:
            place.progress(1)
            time.sleep(0.02)

    catalog.Validate.run = validate  # type: ignore[method-assign]
    call_command("db_worker", interval=0.1, reload=False, startup_delay=False)


def admin() -> None:
    """Sign in, and post a form of the admin, by default the one that previews a migration."""
    from django.contrib.auth.models import User
    from django.test import Client

    client, password = Client(), "of-tests-alone"
    if not User.objects.exists():
        User.objects.create_superuser("root", password=password)
    client.post("/admin/login/", {"username": "root", "password": password})
    page = os.environ.get("PAGE", "operations/migrate/")
    sys.stdout.write(str(client.post(f"/admin/console/{page}", {"only": ["luna", "te"]}).status_code))


def of_last_job(act: Callable[[int], Any]) -> None:
    from orbsite.models.jobs import Job

    act(Job.objects.latest("id").pk)


def cancel() -> None:
    """Cancel the last job."""
    from orbsite.operations.jobs import jobs
    from orbsite.storage.clock import utc_now

    of_last_job(lambda number: jobs.cancel(number, now=utc_now))


def again() -> None:
    """Start the last job again."""
    from orbsite.operations.jobs import jobs
    from orbsite.storage.clock import utc_now

    of_last_job(lambda number: jobs.start_again(number, now=utc_now))


if __name__ == "__main__":
    django.setup()
    verbs = {one.__name__: one for one in (prepare, work, admin, cancel, again)}
    verb = verbs.get(sys.argv[2])
    verb() if verb else run(Path(sys.argv[1]), sys.argv[2])
