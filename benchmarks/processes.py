"""Steps of benchmarks in processes of their own, with the settings of production and a database."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

PRODUCTION = {
    "DEBUG": "",
    "SECRET_KEY": "for-benchmarks-alone-Yq3VbX7mWc9LkT2pRz8NsHd5GfJu4EaQwS6yDxB1",
    "ALLOWED_HOSTS": "localhost",
    "ORB_ALLOW_SQLITE": "true",
    "ORB_HTTPS": "false",
}
"""Settings as they are where it matters, on a database of any kind."""


def environment(url: str = "", **more: str) -> dict[str, str]:
    """Return the environment of a process, which uses a database if one is given."""
    named = {"DJANGO_SETTINGS_MODULE": "orbsite.settings"} | ({"DATABASE_URL": url} if url else {})
    return {**os.environ, **PRODUCTION, **named, **more}


def step(module: str, *arguments: object, url: str = "", **more: str) -> Any:
    """Run a step of a benchmark in a new process, and return the JSON that it prints. Exits if the step fails."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(url, **more), check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def fresh(url: str, **more: str) -> None:
    """Create the tables of a new database."""
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, env=environment(url, **more), check=True)


def database(server: Any, name: str) -> str:
    """Create a database on a server, and return its address."""
    import psycopg

    with psycopg.connect(
        host=server.host, port=server.port, user=server.user, dbname="postgres", autocommit=True
    ) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    return f"postgres://{server.user}@/{name}?host={quote(server.host)}&port={server.port}"


def peak_of(command: list[str], url: str) -> int:
    """Run a command in the environment of a database, and return the peak memory of all its processes, in bytes.

    Pages that they share count once. It is looked at every 20 ms.
    """
    most = 0
    with subprocess.Popen(command, env=environment(url), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
        while one.poll() is None:
            most = max(most, _memory(one.pid))
            time.sleep(0.02)
    if one.returncode:
        raise subprocess.CalledProcessError(one.returncode, command)
    return most


def _memory(pid: int) -> int:
    """Return the memory of a process and its children."""
    taken = 0
    for process in (pid, *_children(pid)):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
            taken += int(rollup.partition("\nPss:")[2].split()[0]) * 1024
    return taken


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
