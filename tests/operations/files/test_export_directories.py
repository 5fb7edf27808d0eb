"""Exports of jobs expire; what is no export of ours stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orbsite.conf import app_settings
from orbsite.operations.files import export_directories
from orbsite.operations.files.export_directories import bytes_in, expired, remove_expired
from orbsite.operations.jobs import jobs
from orbsite.operations.scheduling.daily import chores

pytestmark = pytest.mark.django_db
KEEP = timedelta(days=30)


@pytest.fixture
def place(files: Path, settings: Any, tmp_path: Path) -> Path:
    settings.ORB_DATA_DIR, settings.ORB_PERSISTENCE = files, "file"
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    return Path(settings.ORB_BACKUP_DIR)


def _exported(moment: datetime, **arguments: Any) -> Path:
    job = jobs.start("export", arguments, now=lambda: moment)
    jobs.execute(job.pk, now=lambda: moment)
    job.refresh_from_db()
    assert job.state == "done", job.error
    return app_settings.backup_directory() / job.result["directory"]


def test_an_export_expires_after_its_days_and_not_before(place: Path) -> None:
    now = datetime.now(UTC)
    kept, other = _exported(now), _exported(now + timedelta(seconds=1), user="user-1")
    size = bytes_in(kept)
    assert size == sum(path.stat().st_size for path in kept.rglob("*") if path.is_file()) > 0
    assert list(expired(place, now + KEEP, KEEP)) == []
    assert list(expired(place, now + 2 * KEEP, None)) == []
    found = list(expired(place, now + KEEP + timedelta(days=1), KEEP))
    assert [(path, orphan.size) for path, orphan, _ in found] == [(kept, size), (other, bytes_in(other))]
    assert remove_expired(place, now + KEEP + timedelta(days=1), KEEP) == 2
    assert list(place.iterdir()) == []


def test_what_was_removed_half_way_is_removed_the_next_time(place: Path) -> None:
    now = datetime.now(UTC)
    kept = _exported(now)
    half = kept.rename(place / ".export.123456.0123abcd.tmp")
    next(path for path in half.rglob("*.json")).unlink()
    assert remove_expired(place, now + 2 * KEEP, KEEP) == 1
    assert not half.exists()


@pytest.mark.parametrize("name", ["notes.txt", "te/notes.txt", "luna/link", "more/x.json"])
def test_an_export_that_holds_anything_else_stays(place: Path, name: str) -> None:
    now = datetime.now(UTC)
    kept = _exported(now)
    (kept / name).parent.mkdir(exist_ok=True)
    if name.endswith("link"):
        (kept / name).symlink_to("/")
    else:
        (kept / name).write_text("mine")
    assert remove_expired(place, now + 2 * KEEP, KEEP) == 0
    assert list(kept.rglob("*.json"))


@pytest.mark.parametrize(
    "name", ["export-20200101T000000", "export-2020", "export-20200101T000000Z-mine", "mine", "uploads"]
)
def test_a_directory_of_another_name_stays(place: Path, name: str) -> None:
    now = datetime.now(UTC)
    path = _exported(now).rename(place / name)
    assert remove_expired(place, now + 2 * KEEP, KEEP) == 0
    assert path.is_dir()


def test_an_export_that_was_changed_since_it_was_found_stays(place: Path) -> None:
    now = datetime.now(UTC)
    kept = _exported(now)
    ((_, _, remove),) = expired(place, now + 2 * KEEP, KEEP)
    next(path for path in kept.rglob("*.json")).write_text("{}")
    with pytest.raises(export_directories.OrbError, match="was changed meanwhile"):
        remove()
    assert kept.is_dir()


def test_maintenance_removes_them_once_a_day_and_the_settings_say_when(place: Path, settings: Any) -> None:
    now = datetime.now(UTC)
    kept = _exported(now)
    settings.ORB_KEEP_EXPORTS_DAYS = "none"
    assert chores(lambda: now + 100 * KEEP)["exports_removed"] == 0
    settings.ORB_KEEP_EXPORTS_DAYS = "40"
    assert chores(lambda: now + KEEP)["exports_removed"] == 0
    assert kept.is_dir()
    settings.ORB_KEEP_EXPORTS_DAYS = "3"
    assert chores(lambda: now + timedelta(days=3))["exports_removed"] == 0
    assert chores(lambda: now + timedelta(days=3, minutes=1))["exports_removed"] == 1
    assert not kept.exists()


def test_clean_up_tells_of_them_and_removes_them_when_it_is_told_to(place: Path, settings: Any) -> None:
    now = datetime.now(UTC)
    kept = _exported(now)
    settings.ORB_KEEP_EXPORTS_DAYS = "3"
    for apply in (False, True):
        job = jobs.start("cleanup", {"apply": apply}, now=lambda: now + KEEP)
        jobs.execute(job.pk, now=lambda: now + KEEP)
        job.refresh_from_db()
        (told,) = [one for one in job.result["findings"] if kept.name in one["path"]]
        assert "an export that has expired" in told["message"]
        assert kept.exists() is not apply
