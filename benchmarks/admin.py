"""Measures the response time of list pages and of a user's page in the admin on a large and on a small table.

python -m benchmarks.admin [ROWS] [postgresql]

Each table is in its own database. The pages are requested in one process, without the network.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin

from benchmarks import figures
from benchmarks.compaction import fill
from benchmarks.figures import Bar, Figure, figure
from tests.support.serving import ROOT, manage, production
from tests.torture.databases import opened

TITLE = "List pages of the admin"
NOTES = """
The two tables take turns, each in a database of its own; the pages are requested in one process, without the network.
A first page takes some 40 to 50 ms of the processor, of which the statements have a few; what grows is the count,
which ends at 10,000. PostgreSQL's planner looked through the table for an id that is not there, asked for one row by
any of three columns: the columns are asked one by one since.
"""
SMALL, LARGE, ROUNDS = 1_000, 100_000, 20
GROWTH = Bar(1.5)
PAGES = {
    "first page": "",
    "page 20": "?p=20",
    "oldest first": "?o=1",
    "a month": "?from=2024-03-01&to=2024-03-31",
    "a whole id that is not there": "?q=nobody",
    "the page about a user": "/admin/console/users/user-0/",
}


def main() -> None:
    """Measure both tables in turns, and record the times with their ratio."""
    large = int(sys.argv[1]) if len(sys.argv) > 1 else LARGE
    kind = sys.argv[2] if len(sys.argv) > 2 else "sqlite"  # noqa: PLR2004
    with ExitStack() as stack:
        tables = [_Table(stack, kind, number) for number in (SMALL, large)]
        found = [one for page in PAGES for one in _measured(page, *tables)]
    figures.record("admin", large, figures.SQLITE if kind == "sqlite" else figures.POSTGRESQL, found)


def _measured(page: str, small: _Table, large: _Table) -> list[Figure]:
    """Return the figures of a page of both tables, after a first request each."""
    times = [(small.ask(page), large.ask(page)) for _ in range(ROUNDS + 1)][1:]
    little, much = zip(*times, strict=True)
    bar = GROWTH if page == "first page" else None
    return [
        figure(f"{page}, {SMALL:,} rows", little, "ms"),
        figure(page, much, "ms", over=statistics.median(little), peer=f"x {SMALL:,} rows", bar=bar),
    ]


class _Table:
    """A process with a table of a given number of reflections, which measures pages."""

    def __init__(self, stack: ExitStack, kind: str, number: int) -> None:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(opened(kind, work))
        chosen = {"ORB_HTTPS": "false", "ALLOWED_HOSTS": "testserver", "ORB_LOG_LEVEL": "ERROR"}
        chosen |= {"ORB_PERSISTENCE": "sql", "ORB_STATIC_ROOT": str(work / "static")}
        environment = production(
            work, DATABASE_URL=database.address, DJANGO_SETTINGS_MODULE="orbsite.settings", **chosen
        )
        manage(environment, "migrate", "--verbosity", "0")
        manage(environment, "collectstatic", "--no-input", "--verbosity", "0")
        command = [sys.executable, "-m", "benchmarks.admin", "answer", str(number)]
        pipe = subprocess.PIPE
        self._process = stack.enter_context(
            subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        )
        stack.callback(self._process.terminate)
        self._answer()

    def ask(self, page: str) -> float:
        """Return the response time of a page in seconds."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{page}\n")
        return self._answer()

    def _answer(self) -> float:
        return float(self._process.stdout.readline()) if self._process.stdout else 0.0


def answer(number: int) -> None:
    """Fill the table, then print the seconds of each page whose name is read from standard input."""
    import django

    django.setup()
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse

    fill(number)
    client = Client()
    client.force_login(User.objects.create_superuser("bench"))
    address = reverse("admin:te_reflectionrow_changelist")
    print(0.0, flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        status = client.get(urljoin(address, PAGES[line.rstrip()])).status_code
        if status != 200:  # noqa: PLR2004
            raise SystemExit(f"{line.rstrip()} was answered {status}")
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["answer"]:
        answer(int(sys.argv[2]))
    else:
        main()
