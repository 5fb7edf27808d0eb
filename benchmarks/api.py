"""Measures the requests per second, and the processor time per request, of the API and of comparable servers.

python -m benchmarks.api [ROWS] [postgresql]

gunicorn with 2 sync workers, 8 concurrent connections, all servers in turns within one run, each with the same table.
Sync workers close the connection after each response, so that each request connects anew. The processor time is that
of the server's processes, which other work on the machine changes less than the rate. The bare view returns the same
bytes as the API, which is checked first.
"""

from __future__ import annotations

import http.client
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
from dataclasses import dataclass
from pathlib import Path

from benchmarks import figures
from benchmarks.figures import Bar, Figure, figure
from tests.support.serving import ROOT, _port, manage, production
from tests.torture.databases import Database, opened

TITLE = "API"
NOTES = """
Reflections of 1,000 users; gunicorn with 2 workers of one thread, 8 connections, the client on the same cores; the
processor's time is that of the server's processes for one request, without PostgreSQL's server. The bare view returns
the same bytes as the API, which the benchmark checks first. How often the API's time is in the peer's is what the
bars are of: 3 x DRF, and 0.55 x the bare view.

Profiled: the size of each record in memory was added up twice, by one call for each field (0.7 ms), to end a page of
16 MiB where it should: a bound from the printed bytes tells that it is far from that. Rows were made records and then
printed: they are printed, and the bytes are decoded only to see that they decode. Each page negotiated its media type,
computed the digest of a cursor that it did not have, looked for seals cell by cell, and went through a renderer, which
was 7 % of the time. What is left inside the process is the query (0.2 ms), printing and checking the bytes (0.17),
SHA-256 for the ETag (0.03), and 0.7 ms for the ways of Django and REST framework to the view and back, the token and
the log line. A page with unknown keys, with a row that does not decode, or near 16 MiB, is read by the slower way
after the faster one has given up.
"""
SEED, USERS, CONNECTIONS, SECONDS, ROUNDS = 7, 1000, 8, 3.0, 3
DRF, BARE = Bar(3, is_least=True), Bar(0.55, is_least=True)
MODEL_PAGE, PLAIN_PAGE = "DRF ListAPIView, ModelSerializer", "bare view, raw SQL, msgspec"
PLAIN_SAVE = "bare view, the same INSERT"
BARS = {MODEL_PAGE: DRF, PLAIN_PAGE: BARE}
BODY = {"input": "plan the listing " * 8, "output": "a summary of the kitchen " * 12, "tags": ["success", "budget"]}


@dataclass(frozen=True)
class Server:
    """A running gunicorn."""

    port: int
    pid: int

    def cpu(self) -> float:
        """Return the processor time of the master and its workers, in seconds."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in (self.pid, *children)]
        return sum(int(ticks) for stat in stats for ticks in stat[11:13]) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Endpoint:
    """A request to a server, for any user, and the status of its response."""

    server: Server
    what: str
    wanted: int
    head: str = ""

    def request(self, user: int) -> bytes:
        """Return the bytes to send."""
        body = json.dumps(BODY).encode() if self.what.startswith("POST") else b""
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        line = f"{self.what.format(f'user-{user}')} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        return f"{line}{self.head}{more}\r\n".encode() + body


def main() -> None:
    """Fill a table, serve it with each server, and record the rates."""
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
            "the API: latest 100": Endpoint(api, "GET /api/v1/users/{}/reflections", 200, head),
            MODEL_PAGE: Endpoint(peers, "GET /drf/{}", 200),
            PLAIN_PAGE: Endpoint(peers, "GET /bare/{}", 200),
        }
        saves = {
            "the API: one save": Endpoint(api, "POST /api/v1/users/{}/reflections", 201, head),
            PLAIN_SAVE: Endpoint(peers, "POST /insert/{}", 201),
        }
        _refuse_other_bytes(latest["the API: latest 100"], latest[PLAIN_PAGE])
        found = [one for group in (latest, saves) for one in _compared(group)]
    figures.record("api", rows, figures.SQLITE if kind == "sqlite" else figures.POSTGRESQL, found)


def _compared(group: dict[str, Endpoint]) -> list[Figure]:
    """Return the processor's time and the rate of endpoints, which take turns; the first one is the API."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in group}
    for _ in range(ROUNDS):
        for name, endpoint in group.items():
            took[name].append(_measured(endpoint))
    costs = {name: [cost for _, cost in found] for name, found in took.items()}
    rates = {name: [rate for rate, _ in found] for name, found in took.items()}
    ours = next(iter(group))
    return [
        figure(name, seconds, "ms", over=_over(name, ours, costs), peer="x the API", bar=BARS.get(name))
        for name, seconds in costs.items()
    ] + [
        Figure(
            name=f"{name}: rate",
            value=statistics.median(found),
            unit="requests/s",
            low=min(found),
            high=max(found),
            n=len(found),
        )
        for name, found in rates.items()
    ]


def _over(name: str, ours: str, costs: dict[str, list[float]]) -> float | None:
    return None if name == ours else statistics.median(costs[ours])


def _refuse_other_bytes(one: Endpoint, other: Endpoint) -> None:
    """Raise RuntimeError if two servers answer otherwise."""
    for user in range(0, USERS, USERS // 10):
        bodies = [_body(endpoint, user) for endpoint in (one, other)]
        if bodies[0] != bodies[1]:
            raise RuntimeError(f"the bodies differ: {bodies[0][:300]!r} and {bodies[1][:300]!r}")


def _body(endpoint: Endpoint, user: int) -> bytes:
    with socket.create_connection(("127.0.0.1", endpoint.server.port)) as connection:
        connection.sendall(endpoint.request(user))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.read()


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
def _server(work: Path, name: str, environment: dict[str, str]) -> Iterator[Server]:
    """Start a server, and stop it in the end."""
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
            yield Server(_port(log, process), process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _measured(endpoint: Endpoint) -> tuple[float, float]:
    """Return the requests per second, and the seconds of processor time of a request. Raises for another response."""
    wanted = f"HTTP/1.1 {endpoint.wanted} ".encode()
    deadline = time.perf_counter() + SECONDS

    def ask(number: int) -> int:
        done = 0
        while time.perf_counter() < deadline:
            with socket.create_connection(("127.0.0.1", endpoint.server.port)) as connection:
                connection.sendall(endpoint.request((number * 131 + done * 17) % USERS))
                answer = connection.recv(65536)
                if not answer.startswith(wanted):
                    raise RuntimeError(answer[:2000])
                while connection.recv(65536):
                    pass
            done += 1
        return done

    began, spent = time.perf_counter(), endpoint.server.cpu()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        number = sum(pool.map(ask, range(CONNECTIONS)))
    return number / (time.perf_counter() - began), (endpoint.server.cpu() - spent) / number


if __name__ == "__main__":
    fill(int(sys.argv[2])) if sys.argv[1:2] == ["fill"] else main()
