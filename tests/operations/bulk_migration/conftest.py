from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.db import connections

Plant = Callable[..., Path]


@pytest.fixture(params=["sqlite", "postgresql"])
def on_each_database(request: pytest.FixtureRequest, db: None) -> Iterator[None]:
    """Let this thread use each kind of database as its default one."""
    usual = connections["default"]
    if request.param == "postgresql":
        connections["default"] = connections[request.getfixturevalue("postgresql_alias")]
    yield
    connections["default"] = usual


@pytest.fixture
def plant(sample: Path, tmp_path: Path) -> Plant:
    """Return a function that makes a data directory below `tmp_path`/data, from the real files or from given texts."""

    def make(name: str, **documents: str) -> Path:
        base = tmp_path / "data" / name
        for domain, file in (("luna", "profiles.json"), ("te", "reflections.json")):
            if domain in documents or not documents:
                (base / domain).mkdir(parents=True)
                (base / domain / file).write_text(documents.get(domain) or (sample / domain / file).read_text())
        for path in (base, *base.rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
        return base

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path
