"""Measures how long a plain script takes to import the interface and to save its first reflection.

python -m benchmarks.startup [RUNS]

Each run is a process of its own, with an empty home. Times are seconds of CPU, the least of all runs. The heaviest
imports are those with the longest time of their own and of what only they import, as `python -X importtime` tells.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

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
_LINE = re.compile(r"import time:\s+\d+ \|\s+(\d+) \|( +)(\S+)")
_MOST_SHOWN = 12
_DEEPEST = 3
"""How deep an import may be nested to be listed, in imports."""


def main() -> None:
    """Run the script several times, and print its times and heaviest imports."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    measured = [list(map(float, _run().stdout.split())) for _ in range(runs)]
    for name, seconds in zip(STEPS, map(min, zip(*measured, strict=True)), strict=True):
        print(f"{name:30} {1000 * seconds:8.1f} ms")
    for micros, name in heaviest(_run("-X", "importtime").stderr):
        print(f"{name:40} {micros / 1000:8.1f} ms")


def heaviest(told: str) -> list[tuple[int, str]]:
    """Return the heaviest imports that `-X importtime` has told, with their time in microseconds."""
    lines = [match for line in told.splitlines() if (match := _LINE.match(line))]
    found = [(int(match[1]), match[3]) for match in lines if len(match[2]) // 2 <= _DEEPEST]
    return sorted(found, reverse=True)[:_MOST_SHOWN]


def _run(*options: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home, "ORB_HOME": home}
        command = [sys.executable, *options, "-c", PROGRAM]
        root = Path(__file__).parents[1]
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)


if __name__ == "__main__":
    main()
