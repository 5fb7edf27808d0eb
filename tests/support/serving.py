"""The project as it is served in production: gunicorn, and settings from the environment alone."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.shared_run import made_once
from tests.support.time_limits import time_limit

ROOT = Path(__file__).parents[2]
_PATIENCE = 40.0
_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    port: int
    log: Path
    environment: dict[str, str]

    def manage(self, *arguments: str) -> str:
        return manage(self.environment, *arguments)

    def token(self, *arguments: str) -> str:
        return self.manage("create_orb_token", "--name", "for a test", *arguments).strip()

    def ask(
        self, method: str, path: str, body: bytes | None = None, token: str | None = None, **headers: str
    ) -> Answer:
        """Send one request, as a proxy that speaks HTTPS to the world would."""
        sent = {"Host": "orb.example.org", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
        sent |= {} if token is None else {"Authorization": f"Bearer {token}"}
        sent |= {} if body is None else {"Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=time_limit(_PATIENCE))
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def lines(self) -> list[dict[str, Any]]:
        """Return what is in the log; each line is one JSON object."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def production(work: Path, **more: str) -> dict[str, str]:
    """Return an environment as the page about settings documents it, and nothing of this one that would hide a lack."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LANG")}
    return {
        **kept,
        "DEBUG": "false",
        "SECRET_KEY": "".join(f"{number:x}-" for number in range(100, 120)),
        "ALLOWED_HOSTS": "orb.example.org",
        "ORB_PERSISTENCE": "sql",
        "ORB_PROXIES": "1",
        "ORB_DATA_DIR": str(work / ".orb-data"),
        "ORB_STATIC_ROOT": str(work / "static"),
        "ORB_BACKUP_DIR": str(work / "backups"),
        "ORB_ALLOW_SQLITE": "true",
        **more,
    }


def manage(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=time_limit(120)
    )
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def make_tables(address: str, work: Path) -> None:
    """Make the tables of a new database; an SQLite file is a copy of one that the first caller of this run makes."""
    if not address.startswith("sqlite:///"):
        manage(production(work, DATABASE_URL=address), "migrate", "--verbosity", "0")
        return
    with made_once("tables.sqlite3") as made:
        if not made.exists():
            manage(production(work, DATABASE_URL=f"sqlite:///{made}"), "migrate", "--verbosity", "0")
        shutil.copyfile(made, address.removeprefix("sqlite:///"))


def static_files(work: Path) -> str:
    """Return the directory of the static files, which are collected once in a run."""
    with made_once("static") as made:
        if not made.exists():
            environment = production(work, DATABASE_URL="sqlite://", ORB_STATIC_ROOT=str(made))
            manage(environment, "collectstatic", "--no-input", "--verbosity", "0")
    return str(made)


@contextlib.contextmanager
def served(work: Path, address: str, *, has_tables: bool = False, **more: str) -> Iterator[Server]:
    """Serve a database on some port, and make its tables unless it has them."""
    more = {"ORB_STATIC_ROOT": static_files(work), **more}
    environment = production(work, DATABASE_URL=address, ORB_BIND="127.0.0.1:0", **more)
    if not has_tables:
        make_tables(address, work)
    log = work / "server.log"
    command = [sys.executable, "-m", "gunicorn", "--config", "python:orbsite.runtime.gunicorn", "orbsite.wsgi"]
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            yield Server(_port(log, process), log, environment)
        finally:
            process.terminate()
            try:
                process.wait(time_limit(_PATIENCE))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(time_limit(_PATIENCE))
                raise


def _port(log: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + time_limit(_PATIENCE)
    while time.monotonic() < deadline and process.poll() is None:
        if match := _LISTENING.search(log.read_text()):
            return int(match[1])
        time.sleep(0.05)
    raise RuntimeError(log.read_text())
