from __future__ import annotations

import ast
import re
from datetime import date
from pathlib import Path

from benchmarks.figures import Bar, Figure, Run, figure, read
from benchmarks.report import BENCHMARKS, RESULTS, Section, render, sections, unmeasured

ROOT = Path(__file__).parents[2]
MACHINE = {"Python": "3.11.7", "SQLite": "3.40.1", "cores": "2 x86_64"}
TEXTS = [Section("fold", "Fold", "\nThe swap holds the lock.\n"), Section("decode", "Decoding", "")]


def _run(size: int, day: date, *figures: Figure, benchmark: str = "fold") -> Run:
    return Run(benchmark=benchmark, size=size, database="files", day=day, machine=MACHINE, figures=figures)


NEW, OLD = date(2026, 11, 29), date(2026, 11, 20)
RUNS = [
    _run(100_000, NEW, figure("a save: longest", 0.06, "ms", bar=Bar(50)), figure("the fold", [1.0, 2.0, 4.0])),
    _run(1_000_000, OLD, figure("a save: longest", 0.03, "ms", bar=Bar(50)), figure("memory", 3.0, over=1.0, peer="x")),
]


def test_the_page_lists_each_bar_with_the_figure_that_misses_it_and_by_how_much() -> None:
    page = render(RUNS, TEXTS)
    assert "1 of 2 figures reach their bar." in page
    bars = page.partition("## Bars")[2].partition("## Fold")[0]
    assert (
        "| Fold | a save: longest | files, 100,000 | 60 ms | at most 50 ms | **short of the bar**, by 1.2 x |" in bars
    )
    assert "| Fold | a save: longest | files, 1,000,000 | 30 ms | at most 50 ms | reached |" in bars
    assert "the fold |" not in bars


def test_a_section_has_a_column_for_each_size_with_the_day_of_an_earlier_run_and_its_text() -> None:
    section = render(RUNS, TEXTS).partition("## Fold (`benchmarks/fold.py`)")[2].partition("\n## ")[0]
    assert section.split("\n") == [
        "",
        "",
        "| | files, 100,000 | files, 1,000,000 (2026-11-20) |",
        "|---|---|---|",
        "| a save: longest | 60 ms; **short of at most 50 ms** | 30 ms |",
        "| the fold | 2 s (1 to 4, n 3) |  |",
        "| memory |  | 3 s; 3 x |",
        "",
        "The swap holds the lock.",
        "",
    ]


def test_a_benchmark_without_figures_is_told_and_the_days_and_versions_are() -> None:
    page = render(RUNS, TEXTS)
    assert page.endswith("## Decoding (`benchmarks/decode.py`)\n\nNot measured yet.\n")
    assert "Measured on 2026-11-29 (Python 3.11.7, SQLite 3.40.1, 2 x86_64 cores); on 2026-11-20" in page
    assert "Nothing is measured yet." in render([], TEXTS)


def test_a_count_that_should_be_zero_tells_how_many_there_are() -> None:
    lost = Figure(name="lost", value=2, bar=Bar(0))
    assert "| lost | files, 10 | 2 | at most 0 | **short of the bar**, by 2 |" in render([_run(10, NEW, lost)], TEXTS)


def test_the_results_are_what_the_renderer_writes_from_the_recorded_figures() -> None:
    assert RESULTS.read_text() == render(read(), sections())


def _commands(target: str) -> list[list[str]]:
    """Return the words of each benchmark of a target of the Makefile, without the report at its end."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    commands = [line.split("benchmarks.")[1].split() for line in recipe[1].splitlines()]
    assert commands[-1] == ["report"]
    return commands[:-1]


def test_make_bench_runs_every_benchmark_of_the_report_and_bench_large_only_such() -> None:
    assert {name for name, *_ in _commands("bench")} == set(BENCHMARKS)
    assert {name for name, *_ in _commands("bench-large")} < set(BENCHMARKS)


def test_every_benchmark_records_under_its_own_name() -> None:
    for name in BENCHMARKS:
        tree = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text())
        named = [
            ast.literal_eval(node.args[0])
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record"
        ]
        assert named, name
        assert set(named) == {name}


def test_a_benchmark_that_has_recorded_nothing_is_reported() -> None:
    assert unmeasured(RUNS, TEXTS) == ["decode"]
    assert unmeasured([*RUNS, _run(10, NEW, benchmark="decode")], TEXTS) == ["decode"]
    assert unmeasured([*RUNS, _run(10, NEW, figure("entries", 1.0), benchmark="decode")], TEXTS) == []


def test_every_recorded_run_has_figures_of_a_benchmark_of_the_report() -> None:
    runs = read()
    assert runs
    assert {run.benchmark for run in runs} <= set(BENCHMARKS)
    assert all(run.figures for run in runs)
