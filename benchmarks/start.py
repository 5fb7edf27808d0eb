"""Measures how long commands of the checkout take from their start to their end, each in a process of its own.

python -m benchmarks.start [ROUNDS]

The processes take turns: `django.setup` of a project with two of Django's own apps, that of this project, a command
that counts an empty directory of files, and `manage.py check`, which imports everything that is served. The heaviest
imports of the second command are listed, with what they import themselves.
"""

from __future__ import annotations

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.serving import ROOT

ROUNDS, HEAVIEST = 9, 15
BARE = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""
SETUP = ["-c", "import django; django.setup()"]
_IMPORT = re.compile(r"import time: +[0-9]+ \| +([0-9]+) \| ( *)(\S+)")


def main() -> None:
    """Print times of all processes, and the heaviest imports of a command."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "bare.py").write_text(BARE)
        (Path(work) / "data").mkdir(mode=0o700)
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        ours = kept | {"ORB_PERSISTENCE": "file", "ORB_DATA_DIR": f"{work}/data", "DEBUG": "true"}
        ours["DJANGO_SETTINGS_MODULE"] = "orbsite.settings"
        processes = {
            "django.setup, two of its apps": (SETUP, kept | {"DJANGO_SETTINGS_MODULE": "bare", "PYTHONPATH": work}),
            "django.setup, this project": (SETUP, ours),
            "manage.py orb_stats": (["manage.py", "orb_stats"], ours),
            "manage.py check": (["manage.py", "check"], ours),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in processes}
        for _ in range(rounds):
            for name, (arguments, environment) in processes.items():
                found[name].append(_timed(arguments, environment))
        _print(found)
        told = _run(["-X", "importtime", "manage.py", "orb_stats"], ours).stderr
    for micros, name in _heaviest(told)[:HEAVIEST]:
        print(f"{name:50} {micros / 1000:6.1f} ms")


def _print(found: dict[str, list[tuple[float, float]]]) -> None:
    bare = statistics.median(cpu for _, cpu in next(iter(found.values())))
    for name, times in found.items():
        wall, cpu = zip(*times, strict=True)
        print(f"{name:30} wall {statistics.median(wall):5.2f} s ({min(wall):.2f} to {max(wall):.2f})", end="")
        print(f", CPU {statistics.median(cpu):5.2f} s ({min(cpu):.2f} to {max(cpu):.2f})", end="")
        print(f", {statistics.median(cpu) / bare:.2f} x the first")


def _timed(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds and the seconds of processor time that a process took."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(arguments, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def _run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)


def _heaviest(told: str) -> list[tuple[int, str]]:
    """Return imports of `-X importtime`, the heaviest first, without those that another module imported."""
    lines = [(int(match[1]), len(match[2]), match[3]) for match in map(_IMPORT.match, told.splitlines()) if match]
    return sorted(((micros, name) for micros, depth, name in lines if depth == 0), reverse=True)


if __name__ == "__main__":
    main()
