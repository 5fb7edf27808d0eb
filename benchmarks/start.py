"""Measures how long commands and a plain script take from their start to their end, each in a process of its own.

python -m benchmarks.start [ROUNDS]

The processes take turns: `django.setup` of a project with two of Django's own apps, that of this project, a command
that counts an empty directory of files, `manage.py check`, which imports everything that is served, and a script that
saves two reflections to a file. The steps of the script, and the heaviest imports of the command and of the
script, are listed, with what only they import themselves, as `python -X importtime` tells.
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
from dataclasses import dataclass
from pathlib import Path

from benchmarks import figures
from benchmarks.figures import Bar, Figure, figure
from tests.support.serving import ROOT

TITLE = "Start of commands and scripts"
NOTES = """
The bars are 1.5 s for `orb_stats` and 1.0 s for a script that saves, where the bare `django.setup` takes 0.7 s.
Seconds are those of the processor. The steps of the script are those of one process, the least of all rounds.

Before a command, Django ran all checks: that of the URLs imports the API, REST framework, drf-spectacular and all
pages, and `orb_stats` took 3.6 x. Commands over records run the checks of models and of our settings; the pages of
the admin are imported by the URLs or by their checks. `manage.py check`, `migrate` and `runserver` check everything.
What is left over the bare setup is `django.http` (with the whole ORM by way of its JSON encoder), the models of ten
apps, cryptography, and the store. A script imports neither the admin, REST framework, drf-spectacular nor psycopg,
which a test checks.
"""
ROUNDS, HEAVIEST, DEEPEST = 7, 5, 3
"""Rounds; how many imports are listed, and how deep such an import may be nested, in imports."""
STATS, SCRIPT = "manage.py orb_stats", "a script that saves"
BARE = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
"""
SETUP = ["-c", "import django; django.setup()"]
PROGRAM = """
import time
begin = time.process_time()
import orbsite.persistence
imported = time.process_time()
from datetime import UTC, datetime
from orbsite.persistence import Reflection, create_default_te_store
te = create_default_te_store()
opened = time.process_time()
te.save_reflection(Reflection(id="r", input="a", output="b", tags=(), created_at=datetime.now(UTC)), "ana")
saved = time.process_time()
te.save_reflection(Reflection(id="s", input="a", output="b", tags=(), created_at=datetime.now(UTC)), "ana")
print(begin, imported - begin, opened - imported, saved - opened, time.process_time() - saved)
"""
STEPS = (
    "Python itself",
    "import orbsite.persistence",
    "settings, Django, the store",
    "the first save",
    "the next save",
)
_IMPORT = re.compile(r"import time:\s+\d+ \|\s+(\d+) \|( +)(\S+)")


@dataclass(frozen=True)
class Process:
    """A process to measure."""

    arguments: list[str]
    environment: dict[str, str]
    bar: Bar | None = None


@dataclass(frozen=True)
class Took:
    """The seconds of wall and processor of a process, and what it printed."""

    wall: float
    cpu: float
    printed: str


def main() -> None:
    """Record the times of all processes, the steps of the script, and the heaviest imports."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as work:
        processes = _processes(Path(work))
        turns = [{name: _timed(process) for name, process in processes.items()} for _ in range(rounds)]
        found = _compared(processes, turns) + _steps([one[SCRIPT].printed for one in turns])
        for name in (STATS, SCRIPT):
            found += _heaviest(name, _run(processes[name], "-X", "importtime").stderr)
    figures.record("start", 0, figures.FILES, found)


def _processes(work: Path) -> dict[str, Process]:
    (work / "bare.py").write_text(BARE)
    (work / "data").mkdir(mode=0o700)
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    ours = kept | {"ORB_PERSISTENCE": "file", "ORB_DATA_DIR": f"{work}/data", "DEBUG": "true"}
    ours["DJANGO_SETTINGS_MODULE"] = "orbsite.settings"
    return {
        "django.setup, two of its apps": Process(
            SETUP, kept | {"DJANGO_SETTINGS_MODULE": "bare", "PYTHONPATH": f"{work}"}
        ),
        "django.setup, this project": Process(SETUP, ours),
        STATS: Process(["manage.py", "orb_stats"], ours, Bar(2.1)),
        "manage.py check": Process(["manage.py", "check"], ours),
        SCRIPT: Process(
            ["-c", PROGRAM], {"PATH": kept["PATH"], "HOME": f"{work}", "ORB_HOME": f"{work}/home"}, Bar(1.4)
        ),
    }


def _compared(processes: dict[str, Process], turns: list[dict[str, Took]]) -> list[Figure]:
    least = statistics.median(next(iter(turn.values())).cpu for turn in turns)
    return [
        figure(name, [turn[name].cpu for turn in turns], over=least, peer="x the first", bar=process.bar)
        for name, process in processes.items()
    ] + [figure(f"{name}: wall", [turn[name].wall for turn in turns]) for name in processes]


def _steps(printed: list[str]) -> list[Figure]:
    least = map(min, zip(*(map(float, one.split()) for one in printed), strict=True))
    return [figure(f"the script: {name}", seconds, "ms") for name, seconds in zip(STEPS, least, strict=True)]


def _timed(process: Process) -> Took:
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = _run(process).stdout
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, printed)


def _run(process: Process, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, *process.arguments]
    return subprocess.run(command, cwd=ROOT, env=process.environment, capture_output=True, text=True, check=True)


def _heaviest(name: str, told: str) -> list[Figure]:
    """Return the imports of `-X importtime` that took longest."""
    lines = [match for line in told.splitlines() if (match := _IMPORT.match(line))]
    times = sorted(((int(one[1]), one[3]) for one in lines if len(one[2]) // 2 <= DEEPEST), reverse=True)
    return [figure(f"{name}: import of {module}", micros / 1e6, "ms") for micros, module in times[:HEAVIEST]]


if __name__ == "__main__":
    main()
