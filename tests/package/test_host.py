"""The second way in: somebody else's Django project, `tests/host`, with the apps of the installed wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.installed import ROOT, environment

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, whose directory has its data too."""
    return Path(shutil.copytree(ROOT / "tests/host", tmp_path / "project"))


def _manage(project: Path, *arguments: str, code: int = 0, **variables: str) -> str:
    command = [environment().python, "manage.py", *arguments]
    done = environment().run(*command, cwd=project, code=code, HOST_DIRECTORY=str(project), **variables)
    return done.stdout + done.stderr


@pytest.mark.parametrize("admin", ["ours", "own"])
def test_the_tests_of_the_project_pass(project: Path, admin: str) -> None:
    told = _manage(project, "test", "--verbosity", "1", HOST_ADMIN=admin)
    assert "OK" in told
    assert "Ran 13 tests" in told


def test_the_project_migrates_its_own_databases_and_passes_the_checks(project: Path) -> None:
    for alias in ("default", "archive"):
        _manage(project, "migrate", "--database", alias, "--verbosity", "0", HOST_ADMIN="ours")
        assert (project / f"{alias}.sqlite3").is_file()
    told = _manage(project, "check", "--database", "default", "--fail-level", "ERROR", HOST_ADMIN="ours")
    assert "orb.W025" in told  # Django's own options for SQLite


@pytest.mark.parametrize(
    ("variables", "error"),
    [({"HOST_USE_TZ": "false"}, "orb.E020) USE_TZ is False"), ({"HOST_ROUTER": "1"}, "orb.E021")],
)
def test_settings_that_contradict_the_apps_are_refused_by_a_check(
    project: Path, variables: dict[str, str], error: str
) -> None:
    assert error in _manage(project, "check", code=1, **variables)
