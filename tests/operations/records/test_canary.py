"""A text that is worked with in every way: sealed, it stands nowhere on the disk; erased, the rest of it is gone too."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support import postgresql
from tests.support.time_limits import time_limit
from tests.torture.databases import opened

pytestmark = pytest.mark.slow

CANARY = "canary-6e1f09"
ROOT = Path(__file__).parents[3]
KEY = f"k:{base64.b64encode(bytes(range(32))).decode()}"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[dict[str, str], list[Path]]]:
    """An environment with a database of its own, and the directories in which anything may be written."""
    with ExitStack() as stack:
        try:
            database = stack.enter_context(opened(request.param, tmp_path))
        except postgresql.Unavailable as problem:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(problem))
        (tmp_path / "tmp").mkdir()
        address = f"sqlite:///{quote(database.place['NAME'])}" if request.param == "sqlite" else database.address
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "orbsite.settings",
            "DEBUG": "true",
            "SECRET_KEY": "of-a-test-Yq3VbX7mWc9LkT2pRz8NsHd5GfJu4EaQwS6yDxB1",
            "ALLOWED_HOSTS": "testserver",
            "DATABASE_URL": address,
            "ORB_PERSISTENCE": "sql",
            "ORB_DATA_DIR": str(tmp_path / "data"),
            "ORB_BACKUP_DIR": str(tmp_path / "backups"),
            "ORB_JOURNAL": "0",
            "ORB_KEEP_BACKUPS_DAYS": "30",
            "TMPDIR": str(tmp_path / "tmp"),
        }
        server = getattr(database, "server", None)
        yield environment, [tmp_path, *([Path(server.data)] if server else [])]


def walk(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "tests.support.canary_walk", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=time_limit(120)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def hits(places: list[Path]) -> list[str]:
    found = []
    for path in (path for place in places for path in place.rglob("*") if path.is_file()):
        if CANARY.encode() in path.read_bytes():
            found.append(path.name)
    return sorted(found)


def test_a_sealed_text_stands_nowhere(place: tuple[dict[str, str], list[Path]]) -> None:
    environment, places = place
    said = walk(environment | {"ORB_KEYS": KEY}, CANARY)
    done = json.loads(said[said.rindex('{"runs"') :].splitlines()[0])
    assert done["runs"] >= 7
    assert done["records"] > 10
    assert (hits(places), CANARY in said) == ([], False)
    said = walk(environment | {"ORB_KEYS": KEY}, "--erase")
    assert (hits(places), CANARY in said) == ([], False)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_the_search_of_this_test_finds_a_plain_text(place: tuple[dict[str, str], list[Path]]) -> None:
    environment, places = place
    walk(environment, CANARY)
    assert {"reflections.json", "profiles.json"} <= set(hits(places))
    assert len(hits(places)) > 5
