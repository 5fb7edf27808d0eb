"""Measures the response time of list pages and of a user's page in the admin on a large and on a small table.

python -m benchmarks.admin [ROWS] [postgresql]

Each table is in its own database. The pages are requested in one process, without the network.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin

from benchmarks.compaction import fill
from tests.support.serving import ROOT, manage, production
from tests.torture.databases import opened

SMALL, LARGE, ROUNDS = 1_000, 1_000_000, 40
PAGES = {
    "first page": "",
    "page 20": "?p=20",
    "oldest first": "?o=1",
    "a month": "?from=2024-03-01&to=2024-03-31",
    "a whole id that is not there": "?q=nobody",
    "the page about a user": "/admin/console/users/user-0/",
}


def main() -> None:
    """Measure both tables in turns, and print the times with their ratio."""
    large = int(sys.argv[1]) if len(sys.argv) > 1 else LARGE
    kind = sys.argv[2] if len(sys.argv) > 2 else "sqlite"  # noqa: PLR2004
    with ExitStack() as stack:
        tables = [_Table(stack, kind, number) for number in (SMALL, large)]
        print(f"{SMALL} and {large} reflections, {kind}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
        for page in PAGES:
            found = [(tables[0].ask(page), tables[1].ask(page)) for _ in range(ROUNDS + 1)][1:]
            little, much = (statistics.median(one) * 1000 for one in zip(*found, strict=True))
            print(f"{page:32} {little:8.1f} ms {much:8.1f} ms   {much / little:5.2f} x", flush=True)


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
