"""The program `orb` of the installed wheel, in a directory of its own."""

from __future__ import annotations

import json
import re
import shutil
import stat
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import orbsite
from tests.support.installed import ROOT, environment

pytestmark = pytest.mark.slow


def _orb(cwd: Path, *arguments: object, code: int = 0, **variables: str) -> CompletedProcess[str]:
    return environment().run(environment().orb, *arguments, cwd=cwd, code=code, **variables)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("home") / "orb home"
    told = _orb(place.parent, "init", place).stdout
    assert f"The settings are in {place}/.env.\n" in told
    assert f"orb --home {place} serve" in told.replace("'", "")
    return place


def test_init_makes_a_private_home_with_a_key_and_tables(home: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, home / ".env", home / "db.sqlite3")}
    assert modes == {"orb home": 0o700, ".env": 0o600, "db.sqlite3": 0o600}
    (key,) = re.findall(r"^SECRET_KEY=(\S{64})$", (home / ".env").read_text(), re.MULTILINE)
    before = (home / ".env").read_bytes()
    assert "existed and was not changed" in _orb(home.parent, "--home", home, "init").stdout
    assert (home / ".env").read_bytes() == before
    assert key.encode() in before


def test_the_commands_find_data_settings_and_database_in_the_home(home: Path) -> None:
    shutil.copytree(ROOT / "sample/.orb-data", home / ".orb-data")
    for path in (home / ".orb-data", *(home / ".orb-data").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    report = json.loads(_orb(home.parent, f"--home={home}", "migrate_orb_files", "--format", "json").stdout)
    assert (report["ok"], report["domains"]["te"]["new"]) == (True, 142)
    assert "te reflections         142" in _orb(home.parent, "orb_stats", ORB_HOME=str(home)).stdout
    assert list((home / ".orb-backups").iterdir())


def test_a_worker_executes_what_is_queued(home: Path) -> None:
    told = _orb(home.parent, "--home", home, "worker", "--batch", "--verbosity", "1")
    assert "Traceback" not in told.stderr


def test_without_a_home_the_program_goes_where_the_platform_says(tmp_path: Path) -> None:
    _orb(tmp_path, "init", XDG_DATA_HOME=str(tmp_path / "data"))
    assert (tmp_path / ".config/orb/.env").is_file()
    assert (tmp_path / "data/orb/db.sqlite3").is_file()
    assert [path for path in tmp_path.iterdir() if path.name not in (".config", "data")] == []


def test_an_error_says_what_to_do_and_has_exit_code_2(tmp_path: Path) -> None:
    assert "run: orb init" in _orb(tmp_path, "orb_stats", code=2).stderr
    for arguments in (["--home"], ["init", "a", "b"], ["init", "--force"]):
        assert "usage: orb [--home DIR] COMMAND" in _orb(tmp_path, *arguments, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_the_program_tells_its_use_and_version(tmp_path: Path) -> None:
    assert _orb(tmp_path, "--version").stdout == f"orb {orbsite.__version__}\n"
    assert _orb(tmp_path).stdout == _orb(tmp_path, "--help").stdout
