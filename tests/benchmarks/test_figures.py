from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import decode, figures
from benchmarks.figures import Bar, Figure, figure, record, waits


def test_a_figure_is_the_median_with_the_lowest_and_highest_of_a_few_and_the_quartiles_of_many() -> None:
    few = figure("save", [0.004, 0.001, 0.002], "ms", over=0.001, peer="x the append")
    assert (few.value, few.low, few.high, few.n, few.ratio) == (2.0, 1.0, 4.0, 3, 2.0)
    assert str(few) == "2 ms (1 to 4, n 3); 2 x the append"
    many = figure("save", [*range(1, 24), 1000.0])
    assert many.low is not None
    assert many.high is not None
    assert many.low > 1
    assert many.high < 24
    assert str(figure("fold", 1234.5)) == "1,234 s"


def test_a_bar_is_of_the_ratio_where_there_is_one_and_may_be_the_least_that_is_good() -> None:
    assert figure("save", 0.002, "ms", over=0.001, bar=Bar(1.9)).is_short
    assert not figure("save", 0.002, "ms", over=0.001, bar=Bar(2)).is_short
    assert figure("save", 0.002, "ms", bar=Bar(1.9)).is_short
    assert figure("API", 2.0, over=1.0, bar=Bar(3, is_least=True)).is_short
    assert not figure("API", 3.0, over=1.0, bar=Bar(3, is_least=True)).is_short
    assert figure("API", 2.0, over=1.0, bar=Bar(3, is_least=True)).target == "at least 3 x"
    assert not figure("save", 9.0).is_short


def test_waits_have_a_percentile_that_is_compared_with_idle_and_a_longest_one_with_its_bar() -> None:
    median, p99, longest = waits("a save", [0.001] * 98 + [0.006, 0.07], Bar(50), idle=[0.002, 0.035], p99=Bar(3))
    assert (median.value, p99.value, longest.value, longest.n) == (1, 70, 70, 100)
    assert p99.ratio == pytest.approx(2)
    assert not p99.is_short
    assert longest.is_short
    assert longest.target == "at most 50 ms"


def test_a_run_replaces_the_figures_of_its_own_benchmark_size_and_database_only(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    record("fold", 100, "SQLite", [figure("old", 1.0), figure("gone", 1.0)], file)
    record("fold", 1000, "SQLite", [figure("larger", 2.0)], file)
    record("fold", 100, "files", [figure("elsewhere", 3.0)], file)
    record("search", 100, "SQLite", [figure("another", 4.0)], file)
    record("fold", 100, "SQLite", [Figure(name="new", value=12345.678, bar=Bar(0))], file)
    runs = figures.read(file)
    assert {(run.benchmark, run.size, run.database): [one.name for one in run.figures] for run in runs} == {
        ("fold", 100, "SQLite"): ["new"],
        ("fold", 1000, "SQLite"): ["larger"],
        ("fold", 100, "files"): ["elsewhere"],
        ("search", 100, "SQLite"): ["another"],
    }
    assert {run.day for run in runs} <= {datetime.now(UTC).date(), min(run.day for run in runs)}
    assert next(run.figures[0] for run in runs if run.figures[0].name == "new").bar == Bar(0)
    assert json.loads(file.read_bytes())["fold, SQLite, 100"]["figures"] == [
        {"name": "new", "value": 12345.678, "n": 1, "bar": {"limit": 0, "is_least": False}}
    ]


def test_a_run_without_figures_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    with pytest.raises(ValueError, match="fold at 100 has measured nothing"):
        record("fold", 100, "SQLite", [], file)
    assert not file.exists()


def test_the_file_tells_versions_and_cores_and_no_name_of_the_machine() -> None:
    assert set(figures.machine(figures.SQLITE)) == {"Python", "SQLite", "cores"}
    for run in figures.read():
        assert set(run.machine) <= {"Python", "SQLite", "PostgreSQL", "cores"}


def test_a_benchmark_prints_and_records_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    monkeypatch.setattr(figures.record, "__defaults__", (file,))
    monkeypatch.setattr(sys, "argv", ["decode", "200"])
    decode.main()
    (run,) = figures.read(file)
    assert (run.benchmark, run.size, run.database) == ("decode", 200, "files")
    assert [one.n for one in run.figures] == [3, 3, 3, 3]
    assert run.figures[0].ratio == 1
    assert "entries, checked" in capsys.readouterr().out
