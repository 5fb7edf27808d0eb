from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orbsite import stores

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_in_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_of_this_process", {})
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]  # the other one is tests/api/test_client.py's
    names: dict[str, Any] = {}
    exec(example, names)
    assert [one.id for one in names["te"].get_reflections("ana")] == ["r-1"]
    assert names["luna"].get_active_mode("ana") == "mars"


def test_the_targets_that_the_readme_names_are_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (Path(__file__).parents[1] / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) - {"and"} <= targets
