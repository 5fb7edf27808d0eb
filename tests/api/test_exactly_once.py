"""What is asked for under one key happens once, though the processes that answer are killed at any moment."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.api.dying_server import PROCESSES
from tests.support.effort import effort
from tests.support.postgresql import Unavailable
from tests.support.serving import ROOT, manage, production
from tests.support.time_limits import time_limit
from tests.torture.databases import Database, migrated

pytestmark = [pytest.mark.slow]
REQUESTS, CLIENTS = effort(60, 200), 10
SEED = random.SystemRandom().randrange(10**6)
_PATIENCE = 250.0
_BUSY = (409, 503)
"""What a client is answered while another process, dead or alive, works on its request, or a database is busy."""


@dataclass(frozen=True)
class Service:
    port: int
    token: str
    database: Database

    def ask_until_answered(self, path: str, body: Any, key: str) -> tuple[int, bytes, int]:
        """Send a request until it is answered; return status and body, and how many connections broke."""
        broken, deadline = 0, time.monotonic() + time_limit(_PATIENCE)
        while time.monotonic() < deadline:
            try:
                status, answer = self._ask(path, body, key)
            except (OSError, http.client.HTTPException):
                broken += 1
                continue
            if status not in _BUSY:
                return status, answer, broken
            time.sleep(0.1)
        raise AssertionError(f"{path} was not answered, seed {SEED}")

    def _ask(self, path: str, body: Any, key: str) -> tuple[int, bytes]:
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Host": "orb.example.org",
            "Idempotency-Key": key,
            "X-Forwarded-Proto": "https",
            "Connection": "close",
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=time_limit(30))
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    with contextlib.ExitStack() as stack:
        try:
            database = stack.enter_context(migrated(request.param, tmp_path))
        except Unavailable as problem:
            pytest.skip(str(problem))
        limits = dict.fromkeys(("ORB_API_RATE", "ORB_TOKEN_MAX_OPEN_JOBS", "ORB_TOKEN_MAX_JOBS_PER_DAY"), "none")
        environment = production(tmp_path, DATABASE_URL=database.address, **limits, ORB_LOG_LEVEL="ERROR")
        environment |= {"DJANGO_SETTINGS_MODULE": "orbsite.settings"}
        Path(environment["ORB_STATIC_ROOT"]).mkdir()
        made = manage(
            environment, "create_orb_token", "--name", "t", "--scope", "operate", "--scope", "write", "--every-user"
        )
        port = tmp_path / "port"
        command = [sys.executable, "-m", "tests.api.dying_server", str(port), str(SEED)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        deadline = time.monotonic() + time_limit(60)
        while not (port.exists() and port.read_text()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Service(int(port.read_text()), made.strip(), database)


def _answers(service: Service, path: str, bodies: list[Any]) -> list[tuple[int, bytes, int]]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda one: service.ask_until_answered(path, one[1], f"key-{one[0]}"), enumerate(bodies)))


@pytest.mark.deep
def test_many_operations_are_one_job_each(service: Service) -> None:
    bodies = [{"label": f"label-{number}"} for number in range(REQUESTS)]
    answers = _answers(service, "/api/v1/operations/backup", bodies)
    assert Counter(status for status, _, _ in answers) == {202: REQUESTS}, SEED
    assert sum(broken for _, _, broken in answers) > PROCESSES, "processes died while they answered"
    told = {json.loads(answer)["arguments"]["label"]: json.loads(answer)["id"] for _, answer, _ in answers}
    rows = service.database.query("SELECT id, arguments FROM orb_jobs")
    made = [(_tree(row["arguments"])["label"], row["id"]) for row in rows]
    assert len(made) == REQUESTS, SEED
    assert dict(made) == told, SEED
    tasks = service.database.query("SELECT args_kwargs FROM django_tasks_database_dbtaskresult")
    assert sorted(_tree(row["args_kwargs"])["args"][0] for row in tasks) == sorted(told.values()), "each has one task"


@pytest.mark.deep
def test_many_creations_are_one_record_each(service: Service) -> None:
    bodies = [{"input": f"input-{number}", "output": "o", "sessionId": "s"} for number in range(REQUESTS // 2)]
    answers = _answers(service, "/api/v1/users/ana/reflections", bodies)
    assert Counter(status for status, _, _ in answers) == {201: REQUESTS // 2}, SEED
    told = {json.loads(answer)["input"]: json.loads(answer)["id"] for _, answer, _ in answers}
    rows = service.database.query("SELECT id, input FROM te_reflections")
    assert sorted((row["input"], row["id"]) for row in rows) == sorted(told.items()), SEED


def _tree(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
