"""Every command in places that refuse: it ends in a documented exit code and a line that says what, where and how."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import orbsite.management.commands

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ONE = {
    "sessions": {
        "s": [{"id": "one", "input": "a", "output": "b", "tags": [], "createdAt": "2024-01-01T00:00:00.000Z"}]
    },
    "userSessions": {"ana": ["s"]},
}


@dataclass(frozen=True)
class Place:
    """Where commands run: files, a database and backups of their own."""

    path: Path
    output: str | None = None
    url: str = ""

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def database(self) -> Path:
        return self.path / "db/orb.sqlite3"

    def environment(self) -> dict[str, str]:
        usual = {name: value for name, value in os.environ.items() if not name.startswith(("ORB_", "DJANGO_"))}
        return usual | {
            "DEBUG": "true",
            "DATABASE_URL": self.url or f"sqlite:///{self.database}",
            "ORB_DATA_DIR": str(self.data),
            "ORB_BACKUP_DIR": str(self.path / "backups"),
            "ORB_PERSISTENCE": "sql",
        }

    def run(self, commands: dict[str, list[str]]) -> dict[str, dict[str, Any]]:
        asked = {"commands": list(commands.values()), "output": self.output}
        done = subprocess.run(
            [*WITHOUT_RIGHTS, sys.executable, "-m", "tests.support.commands"],
            input=json.dumps(asked),
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return dict(zip(commands, json.loads(done.stdout), strict=True))


WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
"""Root keeps its files and loses its power over those of others and over modes."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    if WITHOUT_RIGHTS and not shutil.which("setpriv"):
        pytest.skip("setpriv, of util-linux, is not installed")
    place = Place(tmp_path_factory.mktemp("place"))
    for name in ("", "data", "data/te", "db", "backups", "out"):
        (place.path / name).mkdir(mode=0o700, exist_ok=True)
    (place.data / "te/reflections.json").write_text(json.dumps(ONE))
    (place.data / "te/reflections.json").chmod(0o600)
    ended = place.run({"migrate": ["migrate", "-v0"], "backup": ["create_orb_backup"]})
    assert [one["code"] for one in ended.values()] == [0, 0], ended
    return place


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    shutil.copytree(made.path, tmp_path / "place", copy_function=shutil.copy2)
    return Place(tmp_path / "place")


def commands(place: Place) -> dict[str, list[str]]:
    backup = next((place.path / "backups").glob("*"), place.path)
    return {
        "check_orb_files": [],
        "cleanup_orb_files": ["--apply"],
        "compact_orb_files": ["--max-age-days", "1", "--force", "--from", "file"],
        "create_orb_backup": [],
        "create_orb_token": ["--name", "x", "--scope", "read", "--every-user"],
        "ensure_orb_admin": [],
        "erase_orb_user": ["--user", "ana"],
        "export_orb_user": ["--user", "ana", "--to", str(place.path / "out/ana.zip")],
        "export_orb_files": ["--to", str(place.path / "out/x")],
        "import_orb_database": [str(backup / "database.sqlite3"), "--no-backup"],
        "index_orb_search": ["--anew"],
        "migrate": ["-v0"],
        "migrate_orb_files": ["--no-backup"],
        "orb_key_status": [],
        "orb_scale_sql": ["--engine", "citus"],
        "orb_stats": [],
        "repair_orb_files": ["--apply"],
        "reset_orb_2fa": ["admin"],
        "rollback_orb_migration": ["1"],
        "rotate_orb_keys": [],
        "run_orb_maintenance": [],
        "seal_orb_data": [],
        "upgrade_orb_files": [],
        "upgrade_orb_rows": [],
        "validate_orb_files": [],
        "verify_orb_files": [],
        "restore_orb_backup": [str(backup), "--apply"],  # the last one, for it makes the files where they are missing
    }


OF_FILES = {
    "orb_key_status",
    "check_orb_files",
    "cleanup_orb_files",
    "create_orb_backup",
    "migrate_orb_files",
    "repair_orb_files",
    "upgrade_orb_files",
    "validate_orb_files",
    "verify_orb_files",
}
OF_SQL = {
    "create_orb_backup",
    "create_orb_token",
    "ensure_orb_admin",
    "erase_orb_user",
    "export_orb_user",
    "export_orb_files",
    "import_orb_database",
    "index_orb_search",
    "migrate_orb_files",
    "orb_stats",
    "reset_orb_2fa",
    "restore_orb_backup",
    "rollback_orb_migration",
    "run_orb_maintenance",
    "upgrade_orb_rows",
    "verify_orb_files",
}
WRITES_SQL = {
    "create_orb_token",
    "ensure_orb_admin",
    "migrate_orb_files",
    "restore_orb_backup",
    "run_orb_maintenance",
    "upgrade_orb_rows",
    "verify_orb_files",
    "index_orb_search",
}


def missing_data(place: Place) -> Place:
    shutil.rmtree(place.data)
    return place


def unreadable_data(place: Place) -> Place:
    place.data.chmod(0)
    return place


def linked_data(place: Place) -> Place:
    place.data.rename(place.path / "real")
    place.data.symlink_to("real")
    return place


def read_only_data(place: Place) -> Place:
    for path in (place.data, *place.data.rglob("*")):
        path.chmod(0o500 if path.is_dir() else 0o400)
    return place


def missing_database(place: Place) -> Place:
    place.database.unlink()
    return place


def read_only_database(place: Place) -> Place:
    place.database.chmod(0o400)
    place.database.parent.chmod(0o500)
    return place


def unreadable_database(place: Place) -> Place:
    place.database.chmod(0)
    return place


def bad_url(place: Place) -> Place:
    return Place(place.path, url="postgres://orb:secret@127.0.0.1:1/none")


HEEDS_ERASURES = {"compact_orb_files", "restore_orb_backup", "import_orb_database"}
"""What asks the erasure list that lies beside the files before it writes."""
PLACES: dict[Callable[[Place], Place], tuple[set[str], str]] = {
    missing_data: (OF_FILES - {"orb_key_status"}, "/data; check --data-dir and ORB_DATA_DIR"),
    unreadable_data: (OF_FILES | HEEDS_ERASURES, "run this as the user that owns it"),
    linked_data: (OF_FILES | HEEDS_ERASURES, "set ORB_DATA_DIR"),
    read_only_data: ({"compact_orb_files", "upgrade_orb_files"}, "run this as the user that owns it"),
    missing_database: (OF_SQL - {"restore_orb_backup"}, "run: manage.py migrate"),
    read_only_database: (WRITES_SQL | {"import_orb_database"}, "place/db/orb.sqlite3"),
    unreadable_database: (OF_SQL | {"migrate"}, "place/db/orb.sqlite3"),
    bad_url: (OF_SQL | {"migrate", "orb_scale_sql"}, "DATABASE_URL"),
}
"""The commands that end with exit code 2 there, and what the last line then says."""
OWN_REASONS = (
    *("there is no run 1", "there is no user", "there are no records", "no keys are configured"),
    "the database is not PostgreSQL",
)
"""Why commands end with exit code 2 in any place that has no data and no PostgreSQL."""


def test_every_command_is_tried() -> None:
    names = {path.stem for path in Path(orbsite.management.commands.__path__[0]).glob("*.py")}
    assert set(commands(Place(ROOT))) == names - {"__init__"}


@pytest.mark.parametrize("spoil", PLACES, ids=lambda spoil: spoil.__name__)
def test_a_place_that_refuses_ends_each_command_in_one_line_and_its_exit_code(
    place: Place, spoil: Callable[[Place], Place]
) -> None:
    refused, says = PLACES[spoil]
    tried = {name: [name, *options] for name, options in commands(place).items()}
    if spoil is missing_database:
        del tried["migrate"]  # which makes it, as the last one does
    spoiled = spoil(place)
    for name, ended in spoiled.run(tried).items():
        told = (name, ended)
        assert "Traceback" not in ended["err"] + ended["out"], told
        assert "secret" not in ended["err"] + ended["out"], told
        last = (ended["err"].strip().splitlines() or [""])[-1]
        if name in refused:
            assert ended["code"] == 2, told
            assert says in last, told
        else:
            assert ended["code"] in (0, 1) or any(reason in last for reason in OWN_REASONS), told
    if spoil is missing_database:
        assert place.database.stat().st_size > 0  # what was restored
    for path in (place.data, place.database.parent):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)


@pytest.mark.parametrize(
    ("output", "says"), [("/dev/full", "No space left on device"), ("closed", "it is closed")], ids=["full", "closed"]
)
def test_output_that_cannot_be_written_is_told_and_exit_code_2(place: Place, output: str, says: str) -> None:
    tried = {name: [name, *options] for name, options in commands(place).items() if name != "migrate"}
    for name, ended in Place(place.path, output=output).run(tried).items():
        told = (name, ended)
        assert (ended["code"], ended["out"]) == (2, ""), told
        assert "Traceback" not in ended["err"], told
        last = ended["err"].strip().splitlines()[-1]
        own = {"reset_orb_2fa": "there is no user", "export_orb_user": "there are no records"}
        own |= {"orb_scale_sql": "the database is not PostgreSQL"}
        own |= dict.fromkeys(("seal_orb_data", "rotate_orb_keys"), "no keys are configured")
        assert own.get(name, f"be written: {says}") in last or f"could not be shown: {says}" in last, told


def test_a_token_or_a_password_that_cannot_be_shown_is_not_made(place: Place) -> None:
    tried = {name: [name, *commands(place)[name]] for name in ("create_orb_token", "ensure_orb_admin")}
    Place(place.path, output="/dev/full").run(tried)
    with sqlite3.connect(place.database) as database:
        assert database.execute("SELECT count(*) FROM orb_tokens").fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM auth_user").fetchone() == (0,)
    database.close()


def shell(place: Place, command: str, redirection: str) -> subprocess.CompletedProcess[str]:
    line = f"{shlex.quote(sys.executable)} manage.py {command} {redirection}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=ROOT,
        env=place.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "redirection", "code", "says"),
    [
        (
            "migrate_orb_files --no-backup",
            ">/dev/full",
            2,
            "the command has succeeded, but its report could not be written",
        ),
        (
            "orb_stats --format json",
            ">&-",
            2,
            "the command has succeeded, but its report could not be written: it is closed",
        ),
        ("showmigrations", ">/dev/full", 2, "The output could not be written: No space left on device"),
        ("orb_stats", "| true", 141, "Broken pipe"),
        ("showmigrations", "| true", 141, "Broken pipe"),
        ("orb_stats", "2>&-", 0, ""),
        ("orb_stats", "2>/dev/full", 0, ""),
        ("orb_stats", ">&- 2>&-", 2, ""),
        ("rollback_orb_migration 1", "2>&-", 2, ""),
        ("rollback_orb_migration 1", "2>/dev/full", 2, ""),
        ("rollback_orb_migration 1 --format json", "2>/dev/full >/dev/full", 2, ""),
        ("orb_stats --no-such-option", "2>/dev/full", 2, ""),
    ],
)
def test_a_stream_that_fails_leaves_one_line_and_an_exit_code(
    place: Place, command: str, redirection: str, code: int, says: str
) -> None:
    ended = shell(place, command, redirection)
    assert (ended.returncode, "Traceback" in ended.stderr) == (code, False), ended
    assert len(ended.stderr.splitlines()) == bool(says), ended
    assert says in ended.stderr
