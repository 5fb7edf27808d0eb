from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_timeout
from django.db import connections
from hypothesis import settings as hypothesis_settings

from tests.support import postgresql
from tests.support.time_limits import time_limit

hypothesis_settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
hypothesis_settings.load_profile("repeatable")

_missing: list[str] = []


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> object:
    """Let the limit of each test, too, grow with the machine's load."""
    return pytest_timeout.pytest_timeout_set_timer(item, settings._replace(timeout=time_limit(settings.timeout)))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> Iterator[None]:
    """Start a PostgreSQL of our own, or take its alias away and remember why."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgresql.throwaway())
        except postgresql.Unavailable as problem:
            if os.environ.get("CI"):
                raise
            _missing.append(str(problem))
            del connections.databases["postgresql"]
        else:
            os.environ["PATH"] += f"{os.pathsep}{server.binaries}"  # pg_dump, where no other fits the server
            place = {"HOST": server.host, "PORT": str(server.port), "USER": server.user}
            connections.databases["postgresql"].update(place)
            connections["postgresql"].settings_dict.update(place)
        yield


@pytest.fixture
def postgresql_alias(db: None) -> str:
    if _missing:
        pytest.skip(_missing[0])
    return "postgresql"


@pytest.fixture
def sample() -> Path:
    return Path(__file__).parent.parent / "sample" / ".orb-data"


@pytest.fixture
def files(sample: Path, tmp_path: Path) -> Path:
    """The real files, private, in a directory that tests may write to."""
    copy = Path(shutil.copytree(sample, tmp_path / "data"))
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return copy


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    path = tmp_path / ".orb-data"
    path.mkdir(mode=0o700)
    return path
