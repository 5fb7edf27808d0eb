"""Measures the decoding of a file of reflections into checked records, compared with msgspec alone on the same bytes.

python -m benchmarks.decode [NUMBER OF REFLECTIONS]
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import django
import msgspec

from benchmarks.reflections import SEED, make


class Item(msgspec.Struct, gc=False):
    """A reflection, as msgspec alone decodes it."""

    id: str
    input: str
    output: str
    createdAt: str  # noqa: N815 -- as in the file
    tags: list[str] = []
    notes: str | None = None


class File(msgspec.Struct):
    """The file, as msgspec alone decodes it."""

    sessions: dict[str, list[Item]]
    userSessions: dict[str, list[str]]  # noqa: N815


def best(call: Callable[[], object]) -> float:
    """Return the shortest of three measured times, in seconds."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    """Measure the decoders, and print the ratios."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from orbsite.storage.file.content import Content, entries
    from te.domain import DOMAIN

    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    data = make(number)
    print(f"{number:,} reflections, {len(data) / 1e6:.0f} MB, seed {SEED}; msgspec {version('msgspec')}, ", end="")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    raw = best(lambda: msgspec.json.decode(data, type=File))
    rows = {
        "msgspec alone": raw,
        "json.loads": best(lambda: json.loads(data)),
        "entries, checked": best(lambda: sum(1 for _ in entries(DOMAIN, data))),
        "content, ready to answer": best(lambda: Content(DOMAIN, data)),
    }
    for name, seconds in rows.items():
        print(f"{name:26} {seconds:8.3f} s  {seconds / raw:6.1f} x")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
