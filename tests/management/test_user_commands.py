from __future__ import annotations

import json
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from luna.domain import DOMAIN as LUNA
from luna.records import Profile
from orbsite import stores
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.management.test_commands import run
from tests.support.factories import ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script> größer {user}"


@pytest.fixture(params=["file", "sql"])
def two_users(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = request.param, tmp_path / "data"
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    for user in ("ana", "bo"):
        stores.open_store(TE).put([ReflectionFactory(id=f"of-{user}", user_id=user, input=HOSTILE)])
        stores.open_store(LUNA).put([ProfileFactory(user_id=user, preferences=(f"by {user}",))])


def test_an_archive_has_everything_of_a_user_and_nothing_of_others(two_users: None, tmp_path: Path) -> None:
    path = tmp_path / "ana.zip"
    code, report = run("export_orb_user", "--user", "ana", "--to", path)
    assert (code, report["domains"]["te"]["exported"], report["domains"]["luna"]["exported"]) == (0, 1, 1)
    assert path.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["user"] == "ana"
    assert {name: sha256(data).hexdigest() for name, data in files.items()} == {
        name: one["sha256"] for name, one in manifest["files"].items()
    }
    assert json.loads(files["luna/profiles.json"])["ana"]["profiles"]
    assert "of-ana" in files["te/reflections.json"].decode()
    page = files["records.html"].decode()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "by ana" in page
    assert not any(b"of-bo" in data or b"by bo" in data for data in files.values())


def test_an_archive_replaces_no_file_and_is_not_made_for_nobody(two_users: None, tmp_path: Path) -> None:
    path = tmp_path / "ana.zip"
    path.write_text("mine")
    code, report = run("export_orb_user", "--user", "ana", "--to", path)
    assert code == 2
    assert "already exists" in str(report)
    assert path.read_text() == "mine"
    code, report = run("export_orb_user", "--user", "Ana", "--to", tmp_path / "none.zip")
    assert code == 2
    assert "no records of the user 'Ana'" in str(report)
    assert not (tmp_path / "none.zip").exists()


def test_an_erasure_is_counted_before_it_is_done(two_users: None) -> None:
    code, report = run("erase_orb_user", "--user", "ana")
    assert (code, report["domains"]["te"]["to erase"], report["domains"]["luna"]["to erase"]) == (0, 1, 1)
    assert stores.open_store(TE).count(Reflection) == 2
    code, report = run("erase_orb_user", "--user", "ana", "--apply")
    assert (code, report["domains"]["te"]["erased"]) == (0, 1)
    assert "places" in str(report)
    assert [one.user_id for one in stores.open_store(TE).find(Reflection)] == ["bo"]
    assert [one.user_id for one in stores.open_store(LUNA).find(Profile)] == ["bo"]
