"""Measures the requests per second of the API and of comparable servers.

python -m benchmarks.api [ROWS] [postgresql]

gunicorn with 2 sync workers, 8 concurrent connections, all servers in turns within one run, each with the same table.
Sync workers close the connection after each response, so that each request connects anew.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.serving import ROOT, _port, manage, production
from tests.torture.databases import Database, opened

SEED, USERS, CONNECTIONS, SECONDS, ROUNDS = 7, 1000, 8, 4.0, 3
BODY = {"input": "plan the listing " * 8, "output": "a summary of the kitchen " * 12, "tags": ["success", "budget"]}


def main() -> None:
    """Fill a table, serve it with each server, and print the rates."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    kind = sys.argv[2] if len(sys.argv) > 2 else "sqlite"  # noqa: PLR2004
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(opened(kind, work))
        ours = _environment(work, database)
        manage(ours, "migrate", "--verbosity", "0")
        subprocess.run([sys.executable, "-m", "benchmarks.api", "fill", str(rows)], cwd=ROOT, env=ours, check=True)
        token = manage(ours, "create_orb_token", "--name", "bench", "--scope", "write", "--every-user").strip()
        api = stack.enter_context(_server(work, "api", ours))
        peers = stack.enter_context(_server(work, "peers", ours | {"DJANGO_SETTINGS_MODULE": "benchmarks.peers"}))
        head = f"Authorization: Bearer {token}\r\n"
        latest = {
            "the API: latest 100": (api, "GET /api/v1/users/user-{}/reflections", head, 200),
            "DRF ListAPIView, ModelSerializer": (peers, "GET /drf/user-{}", "", 200),
            "bare view, raw SQL, msgspec": (peers, "GET /bare/user-{}", "", 200),
        }
        saves = {
            "the API: one save": (api, "POST /api/v1/users/user-{}/reflections", head, 201),
            "bare view, the same INSERT": (peers, "POST /insert/user-{}", "", 201),
        }
        print(f"{rows} rows, {kind}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
        for group in (latest, saves):
            figures: dict[str, list[float]] = {name: [] for name in group}
            for _ in range(ROUNDS):  # they take turns, for the machine is not the same from one second to the next
                for name, asked in group.items():
                    figures[name].append(_measured(*asked))
            ours_of_it = statistics.median(next(iter(figures.values())))
            for name, found in figures.items():
                median = statistics.median(found)
                print(f"{name:36} {median:8.0f} requests/s   the API is {ours_of_it / median:5.2f} x this")


def fill(rows: int) -> None:
    """Create reflections of a thousand users."""
    import django

    django.setup()
    from datetime import timedelta
    from random import Random

    from benchmarks.reflections import a_text
    from orbsite.storage.clock import utc_now
    from orbsite.stores import open_sql_store
    from te.domain import DOMAIN
    from te.records import Reflection

    store, draw, begin = open_sql_store(DOMAIN), Random(SEED), utc_now() - timedelta(days=365)
    for start in range(0, rows, 5000):
        made = [
            Reflection(
                id=f"{draw.getrandbits(128):032x}",
                user_id=f"user-{index % USERS}",
                session_id=f"session-{index % USERS}-{index // 50_000}",
                input=a_text(draw, 20),
                output=a_text(draw, 40),
                tags=("success", "budget"),
                created_at=begin + timedelta(seconds=index),
            )
            for index in range(start, min(start + 5000, rows))
        ]
        batch = store.make_batch(Reflection, made, [None] * len(made))
        with store.transaction():
            store.insert(batch, range(len(made)), None)


def _environment(work: Path, database: Database) -> dict[str, str]:
    chosen = {"ORB_HTTPS": "false", "ALLOWED_HOSTS": "127.0.0.1", "ORB_API_RATE": "none", "ORB_LOG_LEVEL": "WARNING"}
    more = {"WEB_CONCURRENCY": "2", "ORB_THREADS": "1", "ORB_BIND": "127.0.0.1:0", "ORB_PERSISTENCE": "sql"}
    return production(work, DATABASE_URL=database.address, DJANGO_SETTINGS_MODULE="orbsite.settings", **chosen, **more)


@contextmanager
def _server(work: Path, name: str, environment: dict[str, str]) -> Iterator[int]:
    """Start a server, and return its port."""
    log = work / f"{name}.log"
    command = [sys.executable, "-m", "gunicorn", "--config", "python:orbsite.runtime.gunicorn", "--log-level", "info"]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, "orbsite.wsgi"],
            cwd=ROOT,
            env=environment | {"ORB_LOG_LEVEL": "INFO"},
            stdout=stream,
            stderr=stream,
        )
        try:
            yield _port(log, process)
        finally:
            process.terminate()
            process.wait(30)


def _measured(port: int, what: str, head: str, wanted: int) -> float:
    """Return the number of responses per second. Raises an error for an unexpected response."""
    body = json.dumps(BODY).encode() if what.startswith("POST") else b""
    more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    deadline = time.perf_counter() + SECONDS

    def ask(number: int) -> int:
        done = 0
        while time.perf_counter() < deadline:
            address = what.format((number * 131 + done * 17) % USERS)
            text = f"{address} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{head}{more}\r\n"
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(text.encode() + body)
                answer = connection.recv(65536)
                if not answer.startswith(f"HTTP/1.1 {wanted} ".encode()):
                    raise RuntimeError(answer[:2000])
                while connection.recv(65536):
                    pass
            done += 1
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        number = sum(pool.map(ask, range(CONNECTIONS)))
    return number / (time.perf_counter() - began)


if __name__ == "__main__":
    fill(int(sys.argv[2])) if sys.argv[1:2] == ["fill"] else main()
