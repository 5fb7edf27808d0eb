"""The project as people use it: a server as in production, a worker beside it, and people who may sign in."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.urls import reverse

from tests.support.serving import ROOT, Server, production, served
from tests.support.time_limits import time_limit

PASSWORD = "correct-horse-battery"
_PATIENCE = 40.0
_RUNS = 0.02


@dataclass(frozen=True)
class Site:
    """A server and where it keeps what."""

    server: Server
    work: Path
    sessions: dict[str, str]
    """The keys of the sessions of people who have signed in, by name."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def data(self) -> Path:
        return Path(self.server.environment["ORB_DATA_DIR"])

    def url(self, name: str, *arguments: object, **query: str) -> str:
        """Return the address of one of our pages."""
        return reverse(name, args=arguments, query=query or None)

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Look into the database; Django's own way is closed where a browser is driven."""
        with contextlib.closing(
            sqlite3.connect(self.work / "orb.sqlite3", timeout=time_limit(_PATIENCE))
        ) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, values)]

    def make(self, what: str, *arguments: object) -> Any:
        """Prepare something in another process, and return what it tells: see tests.browser.sample."""
        return make(self.server.environment, what, *arguments)

    @contextlib.contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Have a worker that takes jobs up."""
        command = [sys.executable, "manage.py", "db_worker", "--interval", "0.1", "--no-reload", "--no-startup-delay"]
        with (self.work / "worker.log").open("a") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.server.environment, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(time_limit(_PATIENCE))
                except subprocess.TimeoutExpired:  # in the middle of a job
                    process.kill()
                    process.wait(time_limit(_PATIENCE))


@contextlib.contextmanager
def slowed(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let a process run for a tenth of the time, so that what it does is not over before it was looked at."""
    is_over = threading.Event()

    def slow() -> None:
        while not is_over.wait(_RUNS):
            process.send_signal(signal.SIGSTOP)
            is_over.wait(9 * _RUNS)
            process.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@dataclass(frozen=True)
class Prepared:
    """What every site begins with: the sample, migrated, and people who have signed in."""

    work: Path
    sessions: dict[str, str]

    @property
    def static(self) -> Path:
        return self.work / "static"

    @contextlib.contextmanager
    def running(self, work: Path, **more: str) -> Iterator[Site]:
        """Serve a copy over plain HTTP to this machine alone."""
        shutil.copytree(self.work / ".orb-data", work / ".orb-data")
        shutil.copy(self.work / "orb.sqlite3", work / "orb.sqlite3")
        with served(work, _database(work), has_tables=True, **_settings(self.static), **more) as server:
            yield Site(server, work, self.sessions)


def prepared(work: Path) -> Prepared:
    """Prepare what sites are copies of, unless it is there."""
    sessions = work / "sessions.json"
    if not sessions.exists():
        shutil.rmtree(work, ignore_errors=True)  # what a preparation has left that failed
        sessions.write_text(json.dumps(_made(work)))
    return Prepared(work, json.loads(sessions.read_text()))


def _made(work: Path) -> Any:
    """Return the keys of the sessions of people who have signed in, by name."""
    shutil.copytree(ROOT / "sample" / ".orb-data", work / ".orb-data")
    for path in (work / ".orb-data", *(work / ".orb-data").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    environment = production(work, DATABASE_URL=_database(work), **_settings(work / "static"))
    return make(environment, "begin")


def _database(work: Path) -> str:
    return f"sqlite:///{work / 'orb.sqlite3'}"


def _settings(static: Path) -> dict[str, str]:
    return {
        "ALLOWED_HOSTS": "127.0.0.1",
        "ORB_HTTPS": "false",
        "ORB_PROXIES": "0",
        "ORB_STATIC_ROOT": str(static),
        "WEB_CONCURRENCY": "1",
        "ORB_THREADS": "4",
    }


def make(environment: dict[str, str], what: str, *arguments: object) -> Any:
    command = [sys.executable, "-m", "tests.browser.sample", what, *map(str, arguments)]
    chosen = {**environment, "DJANGO_SETTINGS_MODULE": "orbsite.settings"}
    done = subprocess.run(
        command, cwd=ROOT, env=chosen, capture_output=True, text=True, check=False, timeout=time_limit(120)
    )
    if done.returncode:
        raise RuntimeError(f"{what}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout or "null")
