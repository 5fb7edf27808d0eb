"""What benchmarks measured: figures with their spread, their ratio to a peer, and the bar that they should reach.

A benchmark gives its figures to `record`, which prints them, and keeps them in `figures.json` until the benchmark is
run with the same size and database again. `benchmarks.report` writes `RESULTS.md` from them.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

FILE = Path(__file__).with_name("figures.json")
FILES, SQLITE, POSTGRESQL = "files", "SQLite", "PostgreSQL"
_WHOLE = 1000
"""From here on, numbers are kept as they are."""
MANY = 20
"""From this number of measurements on, the spread is given by quartiles."""
_THREE_DIGITS = 100
_IN_A_SECOND = {"s": 1.0, "ms": 1e3, "µs": 1e6}


@dataclass(frozen=True)
class Bar:
    """What a figure should reach: its ratio if it has one, else its value."""

    limit: float
    is_least: bool = False

    def is_reached_by(self, value: float) -> bool:
        """Return whether a value reaches the bar."""
        return value >= self.limit if self.is_least else value <= self.limit

    def __str__(self) -> str:
        return f"at {'least' if self.is_least else 'most'} {number(self.limit)}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measurement. The value is the median of `n` measurements, unless the name says which other one it is."""

    name: str
    value: float
    unit: str = ""
    low: float | None = None
    """The lowest measurement, or the lower quartile of many."""
    high: float | None = None
    n: int = 1
    ratio: float | None = None
    """What the value is of the peer's, or the peer's of the value, as the text of `peer` says."""
    peer: str = ""
    """What follows the ratio, such as "x the driver"."""
    bar: Bar | None = None

    @property
    def compared(self) -> float:
        """Return what is compared with the bar."""
        return self.value if self.ratio is None else self.ratio

    @property
    def is_short(self) -> bool:
        """Return whether there is a bar that is not reached."""
        return self.bar is not None and not self.bar.is_reached_by(self.compared)

    @property
    def target(self) -> str:
        """Return the bar with its unit; nothing without a bar."""
        return f"{self.bar} {self.unit if self.ratio is None else 'x'}".strip() if self.bar else ""

    @property
    def amount(self) -> str:
        """Return the value with its unit."""
        return f"{number(self.value)} {self.unit}".strip()

    @property
    def comparison(self) -> str:
        """Return the ratio with the name of the peer; nothing without a ratio."""
        return "" if self.ratio is None else f"{number(self.ratio)} {self.peer}"

    def __str__(self) -> str:
        spread = "" if self.low is None or self.high is None else f"{number(self.low)} to {number(self.high)}"
        inside = ", ".join(filter(None, (spread, f"n {self.n:,}" if self.n > 1 else "")))
        text = f"{self.amount} ({inside})" if inside else self.amount
        return f"{text}; {self.comparison}" if self.comparison else text


@dataclass(frozen=True, kw_only=True)
class Run:
    """The figures of one run of a benchmark at one size, in one database or in files."""

    benchmark: str
    size: int
    database: str
    day: date
    machine: dict[str, str]
    """The versions and cores that figures depend on."""
    figures: tuple[Figure, ...]


def figure(
    name: str,
    seconds: Sequence[float] | float,
    unit: str = "s",
    *,
    over: float | None = None,
    peer: str = "",
    bar: Bar | None = None,
) -> Figure:
    """Return the figure of one or more durations in seconds, in another unit of time; `over` are the peer's seconds."""
    values = [one * _IN_A_SECOND[unit] for one in ([seconds] if isinstance(seconds, float) else seconds)]
    value = statistics.median(values)
    low, high = _spread(values)
    ratio = None if over is None else value / (over * _IN_A_SECOND[unit])
    return Figure(name=name, value=value, unit=unit, low=low, high=high, n=len(values), ratio=ratio, peer=peer, bar=bar)


def _spread(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the lowest and the highest value, or the quartiles of many; None for a single one."""
    if len(values) < 2:  # noqa: PLR2004 -- one value has no spread
        return None, None
    if len(values) < MANY:
        return min(values), max(values)
    lower, _, upper = statistics.quantiles(values, n=4)
    return lower, upper


def number(value: float) -> str:
    """Return three digits of a number, or all of a whole one."""
    return f"{value:,.0f}" if abs(value) >= _THREE_DIGITS or value == int(value) else f"{value:.3g}"


def waits(
    name: str,
    seconds: Sequence[float],
    longest: Bar | None = None,
    *,
    idle: Sequence[float] | None = None,
    p99: Bar | None = None,
) -> list[Figure]:
    """Return the median, the 99th percentile and the longest of many waits in seconds, as milliseconds.

    The percentile is compared with that of the idle waits, where they are given.
    """
    middle, high, most = (one * 1e3 for one in (statistics.median(seconds), percentile(seconds), max(seconds)))
    ratio = None if idle is None else high / percentile(idle) / 1e3
    number, unit = len(seconds), "ms"
    return [
        Figure(name=f"{name}: median", value=middle, unit=unit, n=number),
        Figure(
            name=f"{name}: p99", value=high, unit=unit, n=number, ratio=ratio, peer="x idle" if idle else "", bar=p99
        ),
        Figure(name=f"{name}: longest", value=most, unit=unit, n=number, bar=longest),
    ]


def percentile(seconds: Sequence[float]) -> float:
    """Return the 99th percentile of waits."""
    return sorted(seconds)[int(len(seconds) * 0.99)]


def read(file: Path = FILE) -> list[Run]:
    """Return all recorded runs, in the order of their keys."""
    if not file.exists():
        return []
    return list(msgspec.json.decode(file.read_bytes(), type=dict[str, Run]).values())


def record(benchmark: str, size: int, database: str, figures: Sequence[Figure], file: Path = FILE) -> None:
    """Print the figures of a run, and keep them in place of those of the same benchmark, size and database.

    The size is the number of stored records, or of what the benchmark counts; 0 for none. Raises ValueError without
    figures.
    """
    if not figures:
        raise ValueError(f"{benchmark} at {size} has measured nothing: give record() its figures")
    run = Run(
        benchmark=benchmark,
        size=size,
        database=database,
        day=datetime.now(UTC).date(),
        machine=machine(database),
        figures=tuple(figures),
    )
    print(_key(run))
    for one in figures:
        print(f"  {one.name:<60} {one}", flush=True)
    write([*(one for one in read(file) if _key(one) != _key(run)), run], file)


def write(runs: Sequence[Run], file: Path = FILE) -> None:
    """Write all runs, sorted, by replacing the file."""
    ordered = sorted(runs, key=lambda run: (run.benchmark, run.database, run.size))
    text = msgspec.json.format(msgspec.json.encode({_key(run): _shown(run) for run in ordered}), indent=1)
    partial = file.with_suffix(".partial")
    partial.write_bytes(text + b"\n")
    partial.replace(file)


def machine(database: str) -> dict[str, str]:
    """Return the versions and the number of cores that figures depend on."""
    facts = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    facts |= {"PostgreSQL": _postgresql()} if database == POSTGRESQL else {}
    return facts | {"cores": f"{os.cpu_count()} {platform.machine()}"}


def _postgresql() -> str:
    """Return the version of the server that tests and benchmarks start."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    program = shutil.which("initdb") or (installed[-1] if installed else None)
    if program is None:
        return "of unknown version"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return told.partition(")")[2].split()[0]


def _key(run: Run) -> str:
    return ", ".join(filter(None, (run.benchmark, run.database, f"{run.size:,}" if run.size else "")))


def _shown(run: Run) -> dict[str, object]:
    """Return what the file has of a run: nothing that is absent, and four digits of what was measured."""
    shown: dict[str, object] = msgspec.to_builtins(run)
    return shown | {"figures": [_given(msgspec.to_builtins(one)) for one in run.figures]}


def _given(figure: dict[str, object]) -> dict[str, object]:
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) and abs(value) < _WHOLE else value
        for name, value in figure.items()
        if value not in (None, "")
    }
