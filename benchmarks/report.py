"""Writes `RESULTS.md` from the figures that benchmarks recorded, with the text that each benchmark has beside them.

python -m benchmarks.report

A module of a benchmark has a title, `TITLE`, and an explanation in Markdown, `NOTES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from pathlib import Path

from benchmarks.figures import FILES, MANY, POSTGRESQL, SQLITE, Bar, Figure, Run, number, read

RESULTS = Path(__file__).with_name("RESULTS.md")
BENCHMARKS = (
    "search",
    "fold",
    "contention",
    "long_runs",
    "migration",
    "imports",
    "bulk_migration",
    "compaction",
    "api",
    "admin",
    "start",
    "file_store",
    "scaling",
    "growth",
    "nodes",
    "partitions",
    "decode",
    "sessions",
    "sealing",
    "refusals",
)
"""The benchmarks in the order of their sections: first what users feel most."""
INTRODUCTION = """\
# Benchmark results

`make bench` and `make bench-large` measure these figures, keep them in `benchmarks/figures.json`, and write this
page. Do not edit it: the text of a section is in its benchmark.

{measured} A column with another date has figures of an earlier run, which were not measured again.

How to read it:

- A cell is the median, or what its row says instead, with the lowest and the highest of n measurements in
  parentheses, or with their quartiles from {many} measurements on. A cell without parentheses is a single
  measurement.
- A ratio compares with a peer or with the lower limit of the same work: what a bare program takes for it, in the same
  run. Compare ratios, because another machine has other times, and a shared one has other times in each minute.
- A bar is what a figure should reach. It refers to the ratio if the cell has one, and to the value otherwise.
"""


_DATABASES = ("", FILES, SQLITE, POSTGRESQL)
"""The order of columns."""


@dataclass(frozen=True)
class Section:
    """The text of a benchmark."""

    benchmark: str
    title: str
    notes: str


def sections() -> list[Section]:
    """Return the texts of all benchmarks."""
    modules = [(name, import_module(f"benchmarks.{name}")) for name in BENCHMARKS]
    return [Section(name, module.TITLE, module.NOTES) for name, module in modules]


def render(runs: Sequence[Run], texts: Sequence[Section]) -> str:
    """Return the page. Runs of a benchmark that has no text are left out."""
    of = {text.benchmark: sorted(_of(text, runs), key=_column) for text in texts}
    newest = max((run.day for run in runs), default=None)
    parts = [INTRODUCTION.format(measured=_measured(runs), many=MANY)]
    parts += ["## Bars\n", "\n".join(_summary(texts, of))]
    for text in texts:
        parts.append(f"\n## {text.title} (`benchmarks/{text.benchmark}.py`)\n")
        parts.append("\n".join(_table(of[text.benchmark], newest)) if of[text.benchmark] else "Not measured yet.")
        parts += [f"\n{text.notes.strip()}"] if text.notes.strip() else []
    return "\n".join(parts) + "\n"


def _column(run: Run) -> tuple[int, int]:
    return _DATABASES.index(run.database), run.size


def _of(text: Section, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.benchmark == text.benchmark]


def _measured(runs: Sequence[Run]) -> str:
    """Tell on which days figures were measured, and with which versions."""
    facts: dict[date, dict[str, str]] = {}
    for run in runs:
        facts[run.day] = facts.get(run.day, {}) | run.machine
    days = [
        f"{day} ({', '.join(f'{name} {fact}' for name, fact in one.items() if name != 'cores')}, {one['cores']} cores)"
        for day, one in sorted(facts.items(), reverse=True)
    ]
    return f"Measured on {'; on '.join(days)}." if days else "Nothing is measured yet."


def _summary(texts: Sequence[Section], of: dict[str, list[Run]]) -> Iterator[str]:
    """Yield the lines of the table of all figures that have a bar, and how many of them do not reach it."""
    found = [
        (text, run, one, one.bar) for text in texts for run in of[text.benchmark] for one in run.figures if one.bar
    ]
    reached = sum(not one.is_short for _, _, one, _ in found)
    yield f"{reached} of {len(found)} figures reach their bar. What falls short is marked.\n"
    yield "| benchmark | figure | where | measured | bar | |"
    yield "|---|---|---|---|---|---|"
    for text, run, one, bar in found:
        verdict = f"**short of the bar**, by {_missed(one, bar)}" if one.is_short else "reached"
        measured = one.comparison or one.amount
        yield f"| {text.title} | {one.name} | {_where(run)} | {measured} | {one.target} | {verdict} |"


def _missed(one: Figure, bar: Bar) -> str:
    """Return by how much a figure misses its bar, as a factor where there is one."""
    if not bar.limit or not one.compared:
        return number(abs(one.compared - bar.limit))
    return f"{number(max(one.compared / bar.limit, bar.limit / one.compared))} x"


def _table(runs: Sequence[Run], newest: date | None) -> Iterator[str]:
    """Yield the lines of the table of a benchmark, with a column for each size and database."""
    heads = [_where(run) + (f" ({run.day})" if run.day != newest else "") for run in runs]
    yield f"| | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(runs)}"
    cells = [{one.name: one for one in run.figures} for run in runs]
    for name in dict.fromkeys(one.name for run in runs for one in run.figures):
        row = [_cell(found[name]) if name in found else "" for found in cells]
        yield f"| {name} | {' | '.join(row)} |"


def _where(run: Run) -> str:
    return ", ".join(filter(None, (run.database, f"{run.size:,}" if run.size else ""))) or "all"


def _cell(one: Figure) -> str:
    return f"{one}; **short of {one.target}**" if one.is_short else str(one)


def unmeasured(runs: Sequence[Run], texts: Sequence[Section]) -> list[str]:
    """Return the benchmarks that have recorded no figure."""
    measured = {run.benchmark for run in runs if run.figures}
    return [text.benchmark for text in texts if text.benchmark not in measured]


def main() -> None:
    """Write the page. Exits with an error if a benchmark has recorded nothing."""
    runs, texts = read(), sections()
    RESULTS.write_text(render(runs, texts))
    if missing := unmeasured(runs, texts):
        raise SystemExit(f"no figures of {', '.join(missing)}: run each by python -m benchmarks.NAME, then the report")


if __name__ == "__main__":
    main()
