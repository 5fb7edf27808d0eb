"""What a deployment is held to: its hosts, its key, its static files and the directories above its data."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as all_settings
from django.core.checks import Tags, run_checks
from django.core.exceptions import ImproperlyConfigured

from orbsite.conf.checks import check_key, check_parents, writable_parents
from orbsite.runtime import static_root
from orbsite.runtime.key_strength import estimated_bits
from orbsite.runtime.public_suffixes import is_public_suffix
from orbsite.runtime.startup_checks import refuse_what_is_unsafe
from tests.support.serving import ROOT, manage, production

pytestmark = pytest.mark.slow


def _refuse(tmp_path: Path, **changed: Any) -> None:
    usual: dict[str, Any] = {
        "secret_key": secrets.token_urlsafe(48),
        "hosts": ["orb.example.org"],
        "database": {"ENGINE": "django.db.backends.postgresql", "NAME": "orb"},
        "allow_sqlite": False,
        "data_directory": tmp_path / "data",
        "backup_directory": tmp_path / "backups",
        "served": [tmp_path / "static"],
    }
    refuse_what_is_unsafe(**usual | changed)


@pytest.mark.parametrize(
    "host",
    [".com", ".org", ".io", ".co.uk", ".com.au", ".or.jp", ".github.io", ".herokuapp.com", ".localhost", ".COM", " .com.",
     ".a.run.app", ".eu-west-1.elasticbeanstalk.com", ".s3.eu-central-1.amazonaws.com", ".vercel.app", ".dev", ".xn--p1ai"],
)  # fmt: skip
def test_hosts_under_which_anybody_may_have_one_are_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="ALLOWED_HOSTS allows every host under"):
        _refuse(tmp_path, hosts=["orb.example.org", host])


@pytest.mark.parametrize(
    "host",
    ["orb.example.org", ".example.org", ".example.co.uk", "localhost", "me.github.io", ".me.github.io", "192.0.2.1", "[::1]",
     ".mine.eu-west-1.elasticbeanstalk.com", ".ibm.com", ".orb.internal", "com"],
)  # fmt: skip
def test_hosts_of_ones_own_are_not(tmp_path: Path, host: str) -> None:
    _refuse(tmp_path, hosts=[host])
    assert not is_public_suffix(host)


WEAK = [
    "a" * 64,
    "ab" * 40,
    "password" * 8,
    "0123456789" * 6,
    "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz",
    "zyxwvutsrqponmlkjihgfedcba9876543210zyxwvutsrqponm",
    "acegikmoqsuwyACEGIKMOQSUWY0246813579acegikmoqsuwyACEG",
    "a1b2c3d4e5f6g7h8i9j0a1b2c3d4e5f6g7h8i9j0a1b2c3d4e5f6",
    "secretly1secretly2secretly3secretly4secretly5secretly6",
    "mysecretkeymysecretkeymysecretkeymysecretkeymysecretkey!",
]


@pytest.mark.parametrize("key", WEAK)
def test_a_key_that_repeats_itself_or_counts_up_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY") as caught:
        _refuse(tmp_path, secret_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("make", [secrets.token_urlsafe, secrets.token_hex])
def test_a_key_that_is_drawn_is_taken(tmp_path: Path, settings: Any, make: Any) -> None:
    for _ in range(100):
        settings.SECRET_KEY = make(48)
        _refuse(tmp_path, secret_key=settings.SECRET_KEY)
        assert check_key() == []


def test_a_phrase_that_is_said_twice_is_found_by_the_check_of_deployments(settings: Any) -> None:
    settings.SECRET_KEY = "correct horse battery staple correct horse battery staple"
    assert [one.id for one in check_key()] == ["orb.W003"]
    assert estimated_bits("") == 0


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Static files as a production collects them, without a umask."""
    work = tmp_path_factory.mktemp("collected")
    _collect(production(work, DATABASE_URL=f"sqlite:///{work}/db"))
    return work


def _collect(environment: dict[str, str]) -> None:
    command = [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, umask=0, timeout=300)


def test_without_a_umask_the_owner_alone_may_write_to_what_is_collected(collected: Path) -> None:
    made = [collected / "static", *(collected / "static").rglob("*")]
    assert len(made) > 100
    assert any(path.suffix == ".gz" for path in made)
    assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_file()} == {"0o644"}
    assert {oct(path.stat().st_mode & 0o777) for path in made if path.is_dir()} == {"0o755"}


@pytest.fixture
def root(collected: Path) -> Iterator[Path]:
    before = set((collected / "static").rglob("*"))
    yield collected / "static"
    for path in sorted(set((collected / "static").rglob("*")) - before, reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def test_what_was_collected_is_served(tmp_path: Path, root: Path) -> None:
    _refuse(tmp_path, served=[root])
    _refuse(tmp_path, served=[tmp_path / "not there yet"])
    (tmp_path / "empty").mkdir()
    _refuse(tmp_path, served=[tmp_path / "empty"])


@pytest.mark.parametrize(
    "name",
    [".env", "db.sqlite3", "admin/css/backup.sql", "admin/.git", "notes.txt", "admin/css/base.css.bak", "console/x.gz"],
)
@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
def test_anything_else_among_the_static_files_is_refused(tmp_path: Path, root: Path, name: str, kind: str) -> None:
    match kind:
        case "file":
            (root / name).write_text("SECRET_KEY=x")
        case "link":
            (root / name).symlink_to("/etc/passwd")
        case _:
            os.mkfifo(root / name)
    with pytest.raises(ImproperlyConfigured, match="is public, but contains"):
        _refuse(tmp_path, served=[root])


def test_a_link_in_the_place_of_a_collected_file_is_refused(tmp_path: Path, root: Path) -> None:
    path = root / "admin/css/base.css"
    path.rename(tmp_path / "base.css")
    path.symlink_to(tmp_path / "base.css")
    try:
        assert static_root.foreign(root) == "admin/css/base.css"
    finally:
        path.unlink()
        (tmp_path / "base.css").rename(path)


def test_a_directory_that_was_not_collected_into_is_refused(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "manage.py").touch()
    with pytest.raises(ImproperlyConfigured, match="manage.py"):
        _refuse(tmp_path)


def test_static_files_that_everybody_may_write_to_are_refused(tmp_path: Path, root: Path) -> None:
    (root / "staticfiles.json").chmod(0o666)
    try:
        with pytest.raises(ImproperlyConfigured, match="all users may write to"):
            _refuse(tmp_path, served=[root])
    finally:
        (root / "staticfiles.json").chmod(0o644)


@pytest.mark.slow
def test_what_an_earlier_version_has_collected_goes_with_the_next_collection(collected: Path, root: Path) -> None:
    manifest = root / "staticfiles.json"
    told = json.loads(manifest.read_text())
    told["paths"]["console/gone.css"] = "console/gone.0123456789ab.css"
    manifest.write_text(json.dumps(told))
    for name in ("gone.css", "gone.css.gz", "gone.0123456789ab.css", "gone.0123456789ab.css.gz"):
        (root / "console" / name).touch(mode=0o666)
    environment = production(collected, DATABASE_URL=f"sqlite:///{collected}/db")
    _collect(environment)
    assert [path.name for path in root.rglob("*gone*")] == []
    assert static_root.foreign(root) is None


def test_directories_in_which_everybody_may_rename_everything_are_told(tmp_path: Path, settings: Any) -> None:
    open_to_all, sticky = tmp_path / "open", tmp_path / "sticky"
    for place, mode in ((open_to_all, 0o777), (sticky, 0o1777)):
        (place / "below").mkdir(parents=True)
        place.chmod(mode)
    link = tmp_path / "link"
    link.symlink_to(open_to_all / "below")
    assert writable_parents(open_to_all / "below" / "data") == [open_to_all]
    assert writable_parents(link / "data") == [open_to_all]
    assert writable_parents(sticky / "below" / "data") == []
    settings.ORB_DATA_DIR, settings.ORB_BACKUP_DIR = open_to_all / "below" / "data", tmp_path / "backups"
    (found,) = [one for one in check_parents() if "ORB_DATA_DIR" in one.msg]
    assert (found.id, found.hint) == ("orb.W004", f"Run: chmod o-w {open_to_all}")


@pytest.mark.slow
def test_the_check_of_deployments_looks_above_the_database(tmp_path: Path) -> None:
    place = tmp_path / "open" / "below"
    place.mkdir(parents=True)
    environment = production(tmp_path, DATABASE_URL=f"sqlite:///{place}/db")
    assert "no issues" in manage(environment, "check", "--deploy", "--fail-level", "WARNING")
    place.parent.chmod(0o777)
    with pytest.raises(RuntimeError, match=r"orb\.W004"):
        manage(environment, "check", "--deploy", "--fail-level", "WARNING")


def test_make_serve_checks_the_database_too() -> None:
    serve = (ROOT / "Makefile").read_text().partition("\nserve: export")[2].partition("\n\n")[0]
    assert "check --deploy --database default --fail-level WARNING" in serve


def _headers(**environment: str) -> list[Any]:
    program = (
        "from django.conf import settings as s; import json;"
        "print(json.dumps([s.SECURE_HSTS_SECONDS, s.SECURE_HSTS_INCLUDE_SUBDOMAINS, s.SECURE_HSTS_PRELOAD]))"
    )
    usual = production(Path("/nowhere"), DATABASE_URL="postgres://u@h/n", DJANGO_SETTINGS_MODULE="orbsite.settings")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=usual | environment, capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout) if done.returncode == 0 else [done.stderr]


def test_hsts_speaks_for_this_host_alone_unless_it_is_asked_for_more() -> None:
    year = 31_536_000
    assert _headers() == [year, False, False]
    assert _headers(ORB_HSTS_SUBDOMAINS="true") == [year, True, False]
    assert _headers(ORB_HSTS_SUBDOMAINS="true", ORB_HSTS_PRELOAD="true") == [year, True, True]
    assert _headers(ORB_HTTPS="false", ORB_HSTS_SUBDOMAINS="true") == [0, False, False]
    assert "ORB_HSTS_PRELOAD requires" in _headers(ORB_HSTS_PRELOAD="true")[0]
    assert set(all_settings.SILENCED_SYSTEM_CHECKS) == {"security.W005", "security.W021"}


@pytest.mark.parametrize("hour", range(24))
def test_the_checks_have_nothing_to_say_at_any_hour(hour: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Django warns of fixed times as defaults, but only at about that time."""
    now = datetime(2026, 11, 30, hour, tzinfo=UTC)
    monkeypatch.setattr("django.utils.timezone.now", lambda: now)
    assert [one for one in run_checks(tags=[Tags.models]) if one.id == "fields.W161"] == []
