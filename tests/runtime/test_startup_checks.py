"""What a production start refuses, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.serving import ROOT, production
from tests.support.time_limits import time_limit

pytestmark = pytest.mark.slow


def _check(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "check", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=time_limit(60)
    )


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return production(tmp_path, DATABASE_URL=f"sqlite:///{tmp_path}/db")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"SECRET_KEY": "short-1234567890"}, "SECRET_KEY"),
        ({"SECRET_KEY": "x" * 60}, "SECRET_KEY"),
        ({"SECRET_KEY": "django-insecure-0123456789-0123456789-0123456789-0123456789"}, "example"),
        ({"SECRET_KEY": "change-me-0123456789-0123456789-0123456789-0123456789-0123"}, "example"),
        ({"ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "orb.example.org,*"}, "ALLOWED_HOSTS"),
        ({"ORB_ALLOW_SQLITE": ""}, "ORB_ALLOW_SQLITE"),
        ({"ORB_ALLOW_SQLITE": "false"}, "ORB_ALLOW_SQLITE"),
    ],
)
def test_unsafe_settings_are_refused(environment: dict[str, str], setting: dict[str, str], told: str) -> None:
    ended = _check(environment | setting)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    if setting.get("SECRET_KEY"):
        assert setting["SECRET_KEY"] not in ended.stderr


def test_the_documented_environment_is_not_refused(environment: dict[str, str]) -> None:
    ended = _check(environment)
    assert ended.returncode == 0, ended.stderr


def test_debug_is_off_unless_it_is_on(environment: dict[str, str]) -> None:
    del environment["DEBUG"]
    code = "import django; django.setup(); from django.conf import settings; print(settings.DEBUG)"
    chosen = environment | {"DJANGO_SETTINGS_MODULE": "orbsite.settings", "PYTHONPATH": str(ROOT)}
    if (ROOT / ".env").exists():
        chosen["DEBUG"] = ""
    done = subprocess.run([sys.executable, "-c", code], env=chosen, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    ("name", "mode", "code"),
    [
        ("ORB_DATA_DIR", 0o700, 0),
        ("ORB_DATA_DIR", 0o755, 0),
        ("ORB_DATA_DIR", 0o770, 2),
        ("ORB_DATA_DIR", 0o707, 2),
        ("ORB_BACKUP_DIR", 0o777, 2),
    ],
)
def test_a_directory_of_data_that_others_may_write_to_is_refused(
    environment: dict[str, str], name: str, mode: int, code: int
) -> None:
    place = Path(environment[name])
    place.mkdir()
    place.chmod(mode)
    ended = _check(environment)
    assert ended.returncode == code
    assert ("chmod 700" in ended.stderr) is (code == 2)


def test_data_that_is_served_is_refused(environment: dict[str, str]) -> None:
    static = Path(environment["ORB_STATIC_ROOT"])
    static.mkdir()
    link = static.parent / "link"
    link.symlink_to(static)
    for name, told, place in (
        ("ORB_DATA_DIR", "ORB_DATA_DIR", f"{static}"),
        ("ORB_DATA_DIR", "ORB_DATA_DIR", f"{link}/inner"),
        ("ORB_BACKUP_DIR", "ORB_BACKUP_DIR", f"{static}/inner"),
        ("DATABASE_URL", "the database is inside", f"sqlite:///{link}/db"),
    ):
        ended = _check(environment | {name: place})
        assert ended.returncode == 2
        assert told in ended.stderr


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ({}, 0),
        ({"ORB_HTTPS": "false"}, 1),
        ({"ORB_HSTS_SECONDS": "0"}, 1),
        ({"DEBUG": "true"}, 1),
        ({"ORB_API_RATE": "often"}, 1),
    ],
)
def test_the_deployment_check_is_clean_where_the_documented_environment_is_kept_to(
    environment: dict[str, str], setting: dict[str, str], code: int
) -> None:
    ended = _check(environment | setting, "--deploy", "--fail-level", "WARNING")
    assert ended.returncode == code, ended.stderr


def test_a_server_does_not_start_either(environment: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:orbsite.runtime.gunicorn",
        "--check-config",
        "orbsite.wsgi",
    ]
    chosen = environment | {"ORB_BIND": "127.0.0.1:0"}
    fine = subprocess.run(command, cwd=ROOT, env=chosen, capture_output=True, check=False, timeout=time_limit(60))
    refused = subprocess.run(
        command, cwd=ROOT, env=chosen | {"ALLOWED_HOSTS": ""}, capture_output=True, check=False, timeout=time_limit(60)
    )
    assert fine.returncode == 0, fine.stderr
    assert refused.returncode != 0
    assert os.fsencode("ALLOWED_HOSTS") in refused.stderr
