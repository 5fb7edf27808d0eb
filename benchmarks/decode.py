"""Measures the decoding of a file of reflections into checked records, compared with msgspec alone on the same bytes.

python -m benchmarks.decode [NUMBER OF REFLECTIONS]
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from importlib.metadata import version
from pathlib import Path

import django
import msgspec

from benchmarks import figures
from benchmarks.reflections import SEED, make
from benchmarks.timing import times

TITLE = "Decoding"
NOTES = """
The owners of sessions are determined, and UTF-8, repeated keys and ids, NUL and times of less than a microsecond are
checked, by entries; content is the same as a tree, and a view that answers. Medians of three.

Before profiling, entries took 6.9 x: one regular expression with two alternatives went through every byte (now a
substring search and an expression with a literal start), each entry was a frozen dataclass (now a struct), and every
session was decoded twice (now once, unless a record of it needs a closer look).
"""
NUMBER, ROUNDS = 100_000, 3


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


def main() -> None:
    """Measure the decoders, and print the ratios."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from orbsite.storage.file.content import Content, entries
    from te.domain import DOMAIN

    number = int(sys.argv[1]) if len(sys.argv) > 1 else NUMBER
    data = make(number)
    print(f"{number:,} reflections, {len(data) / 1e6:.0f} MB, seed {SEED}; msgspec {version('msgspec')}, ", end="")
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    steps = {
        "msgspec alone, typed, nothing else checked": lambda: msgspec.json.decode(data, type=File),
        "json.loads": lambda: json.loads(data),
        "entries, checked": lambda: sum(1 for _ in entries(DOMAIN, data)),
        "content, ready to answer": lambda: Content(DOMAIN, data),
    }
    rows = {name: times([step] * ROUNDS) for name, step in steps.items()}
    raw = statistics.median(next(iter(rows.values())))
    found = [figures.figure(name, row, over=raw, peer="x msgspec") for name, row in rows.items()]
    figures.record("decode", number, figures.FILES, found)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
