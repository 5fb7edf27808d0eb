"""What becomes of the variables of the environment, and what is there without them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections

from orbsite.conf import app_settings
from orbsite.conf.defaults import DEFAULTS, fill_in
from orbsite.runtime.environment import dotenv_text, path_setting

ROOT = Path(__file__).parents[2]
LIMITS = ("lock_timeout", "idle_in_transaction_session_timeout", "statement_timeout")


def _run(program: str, **environment: str) -> Any:
    """Run a program under the project's own settings, and return what it prints."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "ORB_"))}
    usual |= {"DEBUG": "true", "SECRET_KEY": "x" * 50, "DJANGO_SETTINGS_MODULE": "orbsite.settings"}
    command = [sys.executable, "-c", f"import json, django\ndjango.setup()\n{program}"]
    done = subprocess.run(command, cwd=ROOT, env={**usual, **environment}, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def _default(url: str, **environment: str) -> Any:
    program = "from django.conf import settings; print(json.dumps(settings.DATABASES['default'], default=str))"
    return _run(program, DATABASE_URL=url, **environment)


def test_a_connection_to_postgresql_waits_for_nothing_for_ever() -> None:
    settings = _default("postgres://user:secret@host:5433/name")
    assert (settings["CONN_HEALTH_CHECKS"], settings["OPTIONS"]["connect_timeout"]) == (True, 10)
    assert settings["OPTIONS"]["options"] == (
        "-c lock_timeout=10s -c idle_in_transaction_session_timeout=10min -c statement_timeout=0"
    )


def test_what_the_address_says_comes_first() -> None:
    query = "sslmode=verify-full&connect_timeout=3&conn_health_checks=False&options=-c%20lock_timeout%3D1s"
    settings = _default(f"postgres://user:secret@host/name?{query}", ORB_STATEMENT_TIMEOUT="9s")
    assert settings["CONN_HEALTH_CHECKS"] is False
    assert settings["OPTIONS"] == {"sslmode": "verify-full", "connect_timeout": 3, "options": "-c lock_timeout=1s"}


def test_replicas_are_databases_that_nothing_is_written_to_and_that_are_given_up_soon() -> None:
    program = (
        "from django.conf import settings\n"
        "print(json.dumps([settings.DATABASES, settings.DATABASE_ROUTERS], default=str))"
    )
    urls = "postgres://u:p@one/name postgres://u:p@two/name?connect_timeout=9"
    databases, routers = _run(program, DATABASE_URL="postgres://u:p@host/name", DATABASE_REPLICA_URLS=urls)
    assert list(databases) == ["default", "replica-1", "replica-2"]
    one, two = databases["replica-1"], databases["replica-2"]
    assert (one["HOST"], one["REPLICA_OF"], one["OPTIONS"]["connect_timeout"]) == ("one", "default", 2)
    assert (two["HOST"], two["OPTIONS"]["connect_timeout"], two["OPTIONS"]["tcp_user_timeout"]) == ("two", 9, 5000)
    assert one["OPTIONS"]["options"].startswith("-c lock_timeout=10s ")
    assert routers == ["orbsite.storage.postgresql.router.ReplicaRouter"]


def test_behind_a_pooler_limits_and_sessions_are_of_the_direct_address_alone() -> None:
    direct = "postgres://user:secret@host:5433/name?sslmode=require"
    settings = _default("postgres://user:secret@pooler:6432/name", DATABASE_DIRECT_URL=direct)
    assert (settings["HOST"], settings["DISABLE_SERVER_SIDE_CURSORS"], settings["CONN_MAX_AGE"]) == (
        "pooler",
        True,
        600,
    )
    assert settings["OPTIONS"] == {"connect_timeout": 10}
    assert (settings["DIRECT"]["HOST"], settings["DIRECT"]["PORT"]) == ("host", 5433)
    assert settings["DIRECT"]["OPTIONS"]["options"].startswith("-c lock_timeout=10s ")


@pytest.mark.parametrize(
    ("url", "name", "value", "said"),
    [
        ("", "DATABASE_DIRECT_URL", "postgres://u@host/n", "the PostgreSQL database in DATABASE_URL without its"),
        ("postgres://u@host/n", "DATABASE_DIRECT_URL", "host/n", "DATABASE_DIRECT_URL is not a valid database URL"),
        ("", "DATABASE_REPLICA_URLS", "postgres://u@host/n", "standbys of the PostgreSQL database in DATABASE_URL"),
        ("postgres://u@host/n", "DATABASE_REPLICA_URLS", "host/n", "DATABASE_REPLICA_URLS is not a valid database URL"),
    ],
)
def test_an_address_that_does_not_fit_is_refused(url: str, name: str, value: str, said: str) -> None:
    usual = {"DEBUG": "true", "SECRET_KEY": "x" * 50, "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", "import orbsite.settings"],
        cwd=ROOT,
        env={**usual, "DATABASE_URL": url, name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr


def test_sqlite_is_opened_privately_and_keeps_every_commit(tmp_path: Path) -> None:
    settings = _default(f"sqlite:///{tmp_path}/db")
    assert (settings["ENGINE"], settings["NAME"]) == ("orbsite.runtime.sqlite", f"{tmp_path}/db")
    assert "journal_mode=DELETE; PRAGMA synchronous=EXTRA" in settings["OPTIONS"]["init_command"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db(databases="__all__")
def test_postgresql_takes_the_limits(postgresql_alias: str) -> None:
    place = connections[postgresql_alias].settings_dict
    url = f"postgres://{place['USER']}@:{place['PORT']}/{place['NAME']}?host={place['HOST']}"
    program = (
        "from django.db import connection\n"
        "with connection.cursor() as cursor:\n"
        "    values = [cursor.execute(f'SHOW {name}').fetchone()[0] for name in " + repr(LIMITS) + "]\n"
        "print(json.dumps(values))"
    )
    assert _run(program, DATABASE_URL=url, ORB_STATEMENT_TIMEOUT="45s") == ["10s", "10min", "45s"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ORB_DATA_DIR", "ORB_BACKUP_DIR", "ORB_STATIC_ROOT"])
def test_a_path_that_begins_with_a_tilde_is_in_the_home_directory(name: str) -> None:
    program = (
        f"from django.conf import settings; print(json.dumps(str(settings.{name.replace('ORB_STATIC', 'STATIC')})))"
    )
    assert _run(program, HOME="/home/orb", **{name: "~/place"}) == "/home/orb/place"
    assert _run(program, HOME="/home/orb", **{name: "a/~/b"}).endswith("/a/~/b")


def test_a_database_in_the_home_directory_is_found() -> None:
    program = "from django.conf import settings; print(json.dumps(settings.DATABASES['default']['NAME']))"
    assert _run(program, HOME="/home/orb", DATABASE_URL="sqlite:///~/orb.db") == "/home/orb/orb.db"


def test_a_home_directory_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="ORB_DATA_DIR begins with ~no-such-user"):
        path_setting("ORB_DATA_DIR", "~no-such-user/x", tmp_path)
    with pytest.raises(CommandError, match="~no-such-user"):
        call_command("check_orb_files", "--data-dir", "~no-such-user/x")


def test_the_defaults_for_other_projects_are_those_of_our_settings() -> None:
    program = (
        "from django.conf import settings\nfrom orbsite.conf.defaults import DEFAULTS\n"
        "print(json.dumps({name: getattr(settings, name) for name in DEFAULTS}, default=str))"
    )
    ours = _run(program)
    assert ours == DEFAULTS | {
        "ORB_PERSISTENCE": "file",  # without a database of the project
        "ORB_DATA_DIR": str(ROOT / ".orb-data"),
        "ORB_BACKUP_DIR": str(ROOT / ".orb-backups"),
    }
    documented = set(re.findall(r"`(ORB_[A-Z0-9_]+)`", (ROOT / "docs/reference/settings.md").read_text()))
    assert DEFAULTS.keys() <= documented


def test_what_another_project_leaves_out_has_its_default(settings: Any, tmp_path: Path) -> None:
    settings.BASE_DIR, settings.ORB_UNDO_DAYS = tmp_path, 7
    del settings.ORB_DATA_DIR
    del settings.ORB_JOURNAL
    fill_in()
    assert (tmp_path / ".orb-data", "", 7) == (settings.ORB_DATA_DIR, settings.ORB_JOURNAL, settings.ORB_UNDO_DAYS)


def test_a_backup_without_a_key_says_how_to_make_one(settings: Any) -> None:
    settings.SECRET_KEY = settings.ORB_BACKUP_KEY = ""
    with pytest.raises(ImproperlyConfigured, match="set SECRET_KEY or ORB_BACKUP_KEY, or make a home: orb init"):
        app_settings.backup_keys()
    settings.ORB_BACKUP_KEY = "a, b"
    assert app_settings.backup_keys() == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("A=b\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("A=b\n".encode("utf-16-le"), "NUL bytes"),
        ("A=b\n".encode("utf-32"), "UTF-32; save it as UTF-8"),
        (b"A=b\nB=\xe9\n", r"not UTF-8 \(line 2\)"),
    ],
)
def test_an_env_file_that_is_not_utf_8_says_so(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / ".env").write_bytes(data)
    with pytest.raises(ImproperlyConfigured, match=f"{tmp_path}/.env .*{says}"):
        dotenv_text(tmp_path / ".env")


def test_a_byte_order_mark_before_an_env_file_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfSECRET_KEY=x\r\n")
    assert dotenv_text(tmp_path / ".env").startswith("SECRET_KEY=")
    with pytest.raises(ImproperlyConfigured, match="cannot be read"):
        dotenv_text(tmp_path)
