"""Files are written in another schema version: previewed, interrupted, taken back, and refused where data would go."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode, Profile
from orbsite.operations.backup import create
from orbsite.operations.backup.restore import restore
from orbsite.operations.files.export import export
from orbsite.operations.files.upgrade import upgrade_files
from orbsite.operations.report import Report
from orbsite.storage.errors import DocumentCorrupt, DocumentError, NewerVersion, OrbError, SaveFailed, TooMuch
from orbsite.storage.file.content import Content
from orbsite.storage.file.last_runs import Facts
from orbsite.storage.file.store import FileStore
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.domain import Domain
from orbsite.storage.sealing.envelope import form_of
from orbsite.stores import file_store, open_document
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.management.test_commands import run as command
from tests.management.test_sealing_commands import OLD
from tests.mav.domain import DOMAIN as MAV
from tests.operations.files.test_compact import profile, read, write
from tests.support.factories import ActiveModeFactory, ProfileFactory, ReflectionFactory, moment

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BOTH = [LUNA, TE]
SINCE = "activeModeUpdatedAt"


def upgrade(base: Path, *domains: Domain, **options: Any) -> Report:
    return upgrade_files(list(domains) or BOTH, base, now=lambda: NOW, **options)


def bytes_of(base: Path) -> dict[str, bytes]:
    return {
        str(one.relative_to(base)): one.read_bytes()
        for one in base.rglob("*")
        if one.is_file() and ".lock" not in one.name
    }


def versions(base: Path) -> list[int]:
    return [domain.versions.version_of(read(base, domain)) for domain in BOTH if domain.versions]


def records(base: Path) -> list[Any]:
    stores = [file_store(domain, base) for domain in BOTH]
    return [list(store.walk(kind)) for store in stores for kind in store.domain.kinds]


@pytest.fixture
def timed(data_dir: Path) -> Path:
    """A document of version 2 with what older versions cannot hold."""
    write(data_dir, LUNA, {"ana": {"schemaVersion": 2, "profiles": {}}})
    store = file_store(LUNA, data_dir)
    store.put(
        [
            ProfileFactory(user_id="ana", mode_id="m"),
            ActiveModeFactory(user_id="ana", mode_id="m", updated_at=moment(1)),
        ]
    )
    return data_dir


def test_a_dry_run_tells_what_a_run_does_and_writes_nothing(files: Path, tmp_path: Path) -> None:
    before = bytes_of(files)
    look = upgrade(files, dry_run=True, backup_to=tmp_path / "backups")
    assert bytes_of(files) == before
    assert not (tmp_path / "backups").exists()
    done = upgrade(files)
    for name in ("luna", "te"):
        assert look.domains[name].counts == done.domains[name].counts
        assert look.domains[name].findings == done.domains[name].findings
        assert look.domains[name].details == done.domains[name].details
    assert (look.ok, done.domains["luna"].total("upgraded"), done.domains["te"].total("upgraded")) == (True, 15, 1)
    assert len(done.domains["te"].findings) == 39


def test_an_upgrade_keeps_every_record_and_a_downgrade_brings_the_bytes_back(files: Path) -> None:
    before, held = bytes_of(files), records(files)
    upgrade(files)
    assert (versions(files), records(files)) == ([2, 2], held)
    assert Facts(files).last("upgrade", "te") == NOW
    again = bytes_of(files)
    report = upgrade(files)
    assert [report.domains[one.name].total("unchanged") for one in BOTH] == [15, 1]
    assert bytes_of(files) == again
    report = upgrade(files, schema_version=1)
    assert [report.domains[one.name].total("downgraded") for one in BOTH] == [15, 1]
    after = bytes_of(files)
    assert after["luna/profiles.json"] == before["luna/profiles.json"]
    assert after["te/reflections.json"] == Content(TE, before["te/reflections.json"]).encode()


@pytest.mark.parametrize("version", [0, 1])
def test_files_that_have_the_version_already_are_not_written(files: Path, version: int) -> None:
    before = bytes_of(files)
    report = upgrade(files, TE, schema_version=version)
    assert (report.domains["te"].total("unchanged"), bytes_of(files)) == (1, before)


def test_the_saves_of_a_journal_are_upgraded_and_the_previous_generation_has_them_too(files: Path) -> None:
    store = file_store(TE, files)
    journaling = FileStore(TE, open_document(TE, files), journal_above=0)
    journaling.put([ReflectionFactory(id="new", session_id="default")])
    assert (files / "te/reflections.json.journal").exists()
    upgrade(files)
    assert not (files / "te/reflections.json.journal").exists()
    assert store.count(Reflection) == journaling.count(Reflection) == 143
    assert Content(TE, (files / "te/reflections.json.prev").read_bytes()).view.count(Reflection) == 143
    assert versions(files) == [2, 2]


def test_a_save_that_comes_in_between_is_upgraded_too(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = create.take

    def take_late(*arguments: Any, **options: Any) -> Any:
        made = take(*arguments, **options)
        file_store(TE, files).put([ReflectionFactory(id="late", session_id="t")])
        return made

    monkeypatch.setattr(create, "take", take_late)
    upgrade(files, backup_to=tmp_path / "backups")
    assert [one["userId"] for one in read(files, TE)["sessions"]["t"]] == ["ana"]


@pytest.mark.django_db
def test_the_backup_before_it_brings_everything_back(files: Path, tmp_path: Path, settings: Any) -> None:
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    before, held = bytes_of(files), records(files)
    report = upgrade(files, backup_to=tmp_path / "backups")
    assert report.backup is not None
    assert (report.backup / "luna.json").read_bytes() == before["luna/profiles.json"]
    assert (report.backup / "te.json").read_bytes() == before["te/reflections.json"]
    file_store(TE, files).put([ReflectionFactory(id="after")])
    restore(BOTH, report.backup, base=files, now=lambda: NOW, apply=True, database=False)
    assert (versions(files), records(files)) == ([1, 1], held)
    assert bytes_of(files)["luna/profiles.json"] == before["luna/profiles.json"]
    assert upgrade(files, LUNA, schema_version=1, backup_to=tmp_path / "backups").backup is None


def test_what_an_older_version_cannot_hold_is_given_up_only_by_force(timed: Path) -> None:
    before = bytes_of(timed)
    with pytest.raises(
        TooMuch, match=r"cannot hold 1 values of luna/profiles.json, the first at \$\.ana\.activeMode.*--force"
    ):
        upgrade(timed, schema_version=1)
    assert bytes_of(timed) == before
    look = upgrade(timed, schema_version=1, dry_run=True)
    assert [one.path for one in look.domains["luna"].findings] == [f"$.ana.{SINCE}"]
    assert (look.ok, look.domains["luna"].facts["not_held"]) == (True, 1)
    assert bytes_of(timed) == before
    upgrade(timed, schema_version=0, force=True)
    assert read(timed, LUNA)["ana"]["profiles"]["m"]["constraints"] == ["no-work-alerts"]
    assert [one.updated_at for one in file_store(LUNA, timed).find(ActiveMode)] == [None]


def test_one_file_that_would_lose_data_leaves_all_files_unchanged(files: Path) -> None:
    upgrade(files, TE)
    before = bytes_of(files)
    with pytest.raises(TooMuch):
        upgrade(files, schema_version=0)
    assert bytes_of(files) == before


def test_an_interrupted_run_is_completed_by_the_next_one(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recast = FileStore.recast

    def only_luna(self: FileStore, cast: Callable[[bytes], bytes]) -> bool:
        if self.domain is TE:
            raise SaveFailed("the disk is full")
        return recast(self, cast)

    before = bytes_of(files)["te/reflections.json"]
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "recast", only_luna)
        with pytest.raises(SaveFailed):
            upgrade(files)
    assert (versions(files), bytes_of(files)["te/reflections.json"]) == ([2, 1], before)
    report = upgrade(files)
    assert [report.domains[one.name].total("upgraded") for one in BOTH] == [0, 1]
    assert versions(files) == [2, 2]


def test_a_user_whose_members_are_in_the_way_is_left_and_said_to_be(data_dir: Path) -> None:
    tree = {"ana": {"profiles": {}}, "bo": {"profiles": {}, SINCE: "soon"}, "cy": {"schemaVersion": "x"}}
    write(data_dir, LUNA, tree)
    report = upgrade(data_dir, LUNA)
    assert dict(report.domains["luna"].counts["users"]) == {"read": 3, "upgraded": 1, "left": 2}
    assert [one.path for one in report.domains["luna"].findings] == [f"$.bo.{SINCE}", "$.cy.schemaVersion"]
    assert (report.ok, report.exit_code) == (False, 1)
    assert read(data_dir, LUNA) == tree | {"ana": {"schemaVersion": 2, "profiles": {}}}


def test_items_that_do_not_decode_and_unknown_members_survive(data_dir: Path) -> None:
    tree = {
        "later": [1],
        "ana": {
            "x": {"y": 1},
            "profiles": {"m": {"userId": "ana"}, "n": profile("ana", "n", constraints=["calm"], score=1.5)},
        },
    }
    write(data_dir, LUNA, tree)
    upgrade(data_dir, LUNA)
    upgrade(data_dir, LUNA, schema_version=0)
    assert read(data_dir, LUNA) == tree


def test_a_part_beyond_all_bounds_keeps_all_files_from_being_written(files: Path) -> None:
    path = files / TE.file
    path.write_bytes(path.read_bytes().replace(b'"userSessions"', b'"later": 1e400, "userSessions"'))
    before = bytes_of(files)
    with pytest.raises(DocumentCorrupt, match=r"reflections.json: .*line .*it is unchanged. Run validate_orb_files"):
        upgrade(files)
    assert bytes_of(files) == before


def test_keys_that_stand_twice_are_told(data_dir: Path) -> None:
    write(data_dir, LUNA, {})
    (data_dir / LUNA.file).write_text('{"ana": {"profiles": {}, "x": 1, "x": 2}}')
    assert [one.path for one in upgrade(data_dir, LUNA).domains["luna"].findings] == ["$.ana.x"]


@pytest.mark.django_db
def test_sealed_files_are_upgraded_and_stay_sealed(files: Path, settings: Any) -> None:
    settings.ORB_KEYS = OLD
    assert command("seal_orb_data", "--data-dir", files, "--apply")[0] == 0
    held = records(files)
    code, report = command("upgrade_orb_files", "--data-dir", files, "--only", "te", "--only", "luna", "--no-backup")
    assert (code, report["domains"]["te"]["upgraded"]) == (0, 1)
    assert {form_of((files / domain.file).read_bytes()) for domain in BOTH} == {"key old"}
    assert records(files) == held
    assert upgrade(files).domains["luna"].total("unchanged") == 15


@pytest.mark.parametrize("version", [-1, 3])
def test_a_version_that_does_not_exist_is_refused(files: Path, version: int, tmp_path: Path) -> None:
    with pytest.raises(OrbError, match="versions 0 to 2"):
        upgrade(files, schema_version=version)
    with pytest.raises(OrbError, match="versions 0 to 2"):
        export([MemoryStore(LUNA)], tmp_path / "new", schema_version=version)
    assert not (tmp_path / "new").exists()


def test_a_missing_file_is_no_change_and_a_missing_directory_an_error(data_dir: Path, tmp_path: Path) -> None:
    report = upgrade(data_dir)
    assert (report.ok, report.domains["te"].total("read")) == (True, 0)
    assert bytes_of(data_dir) == {}
    with pytest.raises(DocumentError, match="no data directory"):
        upgrade(tmp_path / "none")


def test_a_domain_with_one_version_is_left_out(data_dir: Path) -> None:
    assert upgrade(data_dir, MAV).domains == {}


NEWER = {"ana": {"profiles": {}}, "bo": {"schemaVersion": 3, "profiles": {"m": profile("bo", "m")}}}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [
        ("upgrade_orb_files",),
        ("upgrade_orb_files", "--schema-version", "1", "--force"),
        ("compact_orb_files", "--force"),
        ("migrate_orb_files", "--no-backup"),
        ("verify_orb_files",),
        ("validate_orb_files",),
    ],
)
def test_every_command_refuses_a_newer_file_with_what_to_do(data_dir: Path, arguments: tuple[str, ...]) -> None:
    before = write(data_dir, LUNA, NEWER)
    code, report = command(*arguments, "--data-dir", data_dir)
    assert code == 2
    (message,) = [one["message"] for one in report["findings"] if "schema version" in one["message"]]
    assert "profiles.json: $.bo has schema version 3, and this program knows versions up to 2" in message
    assert "export_orb_files --schema-version 2" in message
    assert (data_dir / LUNA.file).read_bytes() == before


@pytest.mark.django_db
def test_a_newer_file_is_found_by_a_check_and_no_repair_touches_it(data_dir: Path) -> None:
    write(data_dir, LUNA, {"ana": {"profiles": {}}})
    file_store(LUNA, data_dir).put([ProfileFactory(user_id="ana")])
    before = write(data_dir, LUNA, NEWER)
    for arguments in (("check_orb_files",), ("repair_orb_files", "--apply", "--restore-previous")):
        code, report = command(*arguments, "--data-dir", data_dir, "--only", "luna")
        assert (code, report["domains"]["luna"]["damaged"]) == (1, 1)
        assert "$.bo has schema version 3" in report["findings"][0]["message"]
        assert (data_dir / LUNA.file).read_bytes() == before
    assert (data_dir / f"{LUNA.file}.prev").exists()


def test_an_export_does_not_replace_a_newer_file(data_dir: Path) -> None:
    before = write(data_dir, LUNA, NEWER)
    with pytest.raises(NewerVersion):
        export([MemoryStore(LUNA)], data_dir, overwrite=True)
    assert (data_dir / LUNA.file).read_bytes() == before


def exported(stores: list[Any], to: Path, **options: Any) -> tuple[Report, Any]:
    report = export(stores, to, **options)
    return report, [json.loads((to / store.domain.file).read_bytes()) for store in stores]


@pytest.fixture
def stores() -> list[Any]:
    luna, te = MemoryStore(LUNA), MemoryStore(TE)
    luna.put(
        [
            ProfileFactory(user_id="ana", mode_id="m", constraints=("calm",)),
            ActiveModeFactory(user_id="ana", mode_id="m", updated_at=moment(1)),
        ]
    )
    te.put([ReflectionFactory(id="a", user_id=name, session_id="s") for name in ("ana", "bo")])
    return [luna, te]


def test_an_export_without_a_version_states_none(stores: list[Any], tmp_path: Path) -> None:
    _, (luna, te) = exported(stores, tmp_path / "plain")
    assert list(luna["ana"]) == ["activeMode", "profiles"]
    assert luna["ana"]["profiles"]["m"]["constraints"] == ["calm"]
    assert list(te) == ["sessions", "userSessions"]


def test_an_export_of_version_2_holds_everything(stores: list[Any], tmp_path: Path) -> None:
    report, (luna, te) = exported(stores, tmp_path / "new", schema_version=2)
    assert list(luna["ana"]) == ["schemaVersion", "activeMode", SINCE, "profiles"]
    assert luna["ana"]["profiles"]["m"]["constraints"][0]["id"] == "constraint-m-0"
    assert [(one["userId"], one["sessionId"]) for one in te["sessions"]["s"]] == [("ana", "s"), ("bo", "s")]
    assert report.domains["luna"].findings == []
    again = file_store(LUNA, tmp_path / "new")
    assert again.find(ActiveMode) == stores[0].find(ActiveMode)
    assert again.count(Profile) == 1


@pytest.mark.parametrize(
    ("version", "constraint"),
    [(0, "calm"), (1, {"id": "constraint-m-0", "type": "other", "active": True, "description": "calm"})],
)
def test_an_export_for_older_readers_lists_what_they_cannot_have(
    stores: list[Any], tmp_path: Path, version: int, constraint: Any
) -> None:
    report, (luna, te) = exported(stores, tmp_path / "old", schema_version=version)
    assert luna["ana"]["profiles"]["m"]["constraints"] == [constraint]
    assert list(luna["ana"]) == ["activeMode", "profiles"]
    assert [set(one) & {"userId", "sessionId"} for one in te["sessions"]["s"]] == [{"userId"}, {"userId"}]
    assert [one.path for one in report.domains["luna"].findings] == [f"$.ana.{SINCE}"]
    assert (report.ok, report.domains["luna"].facts) == (True, {"not_held": 1})


@pytest.mark.django_db
def test_the_command_exports_a_version(files: Path, tmp_path: Path, settings: Any) -> None:
    settings.ORB_DATA_DIR = files
    code, _ = command("export_orb_files", "--from", "file", "--to", tmp_path / "new", "--schema-version", "2")
    assert (code, versions(tmp_path / "new")) == (0, [2, 2])
    settings.ORB_DATA_DIR = tmp_path / "new"
    command("export_orb_files", "--from", "file", "--to", tmp_path / "old", "--schema-version", "1")
    assert read(tmp_path / "old", LUNA) == read(files, LUNA)
