from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from orbsite import persistence, stores
from orbsite.persistence import (
    Profile,
    Reflection,
    create_default_luna_store,
    create_default_te_store,
    export_luna_data,
    export_te_data,
    get_storage_stats,
    guide,
    migrate_all_file_to_sql,
    migrate_luna_file_to_sql,
    migrate_te_file_to_sql,
    read_json,
    sanitize_luna_profile,
    sanitize_te_reflection,
    validate_luna_file_data,
    validate_luna_profile,
    validate_te_file_data,
    validate_te_reflection,
    write_json,
)
from orbsite.storage.errors import DocumentCorrupt, SeveralUsers, StoreUnavailable
from orbsite.storage.memory.store import MemoryStore
from tests.support.factories import ProfileFactory, ReflectionFactory

GUIDE_SAMPLE: dict[str, Any] = {
    "<userId>": {
        "activeMode": "<modeId>",
        "profiles": {
            "<modeId>": {
                "userId": "<userId>",
                "modeId": "<modeId>",
                "preferences": ["..."],
                "constraints": ["..."],
                "updatedAt": "2024-01-01T00:00:00.000Z",
            }
        },
    }
}


@pytest.fixture(params=["memory", "file", "sql"])
def persistence_mode(
    request: pytest.FixtureRequest, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    settings.ORB_PERSISTENCE = request.param
    settings.ORB_DATA_DIR = tmp_path / ".orb-data"
    monkeypatch.setattr(stores, "_of_this_process", {})
    if request.param == "sql":
        request.getfixturevalue("db")
    return str(request.param)


def test_everything_that_the_face_promises_is_there() -> None:
    assert all(hasattr(persistence, name) for name in persistence.__all__)


def test_preferences_behave_alike_over_every_store(persistence_mode: str) -> None:
    luna = create_default_luna_store()
    profile = luna.get_or_create_profile("ana", "mars")
    assert [one.description for one in profile.constraints] == ["no-personal-notifications", "fast-confirmations"]
    assert profile.constraints[0].id == "constraint-mars-0"
    assert create_default_luna_store().get_or_create_profile("ana", "mars") == profile
    saved = ProfileFactory(user_id="ana", mode_id="sol", constraints=("a text",))
    luna.save_profile(saved)
    assert create_default_luna_store().get_profile("ana", "sol") == saved
    assert luna.get_profile("ana", "earth") is None
    assert luna.list_modes("ana") == ["mars", "sol"]
    assert luna.get_active_mode("ana") is None
    luna.set_active_mode("ana", "no-profile")
    assert create_default_luna_store().get_active_mode("ana") == "no-profile"
    assert luna.delete_profile("ana", "sol")
    assert not luna.delete_profile("ana", "sol")
    assert luna.delete_user("ana") == 2
    assert (luna.list_modes("ana"), luna.get_active_mode("ana")) == ([], None)


def test_reflections_behave_alike_over_every_store(persistence_mode: str) -> None:
    te = create_default_te_store()
    first, second, third = (ReflectionFactory(user_id=None, session_id=None) for _ in range(3))
    assert te.save_reflection(first, "ana").session_id == "default"
    te.save_reflection(second, "ana", "s")
    te.save_reflection(third, "bo", "s")
    other = create_default_te_store()
    assert [one.id for one in other.get_reflections("ana")] == [second.id, first.id]
    assert [one.id for one in other.get_reflections("ana", limit=1)] == [second.id]
    assert [one.id for one in other.get_reflections_by_session("s")] == [third.id, second.id]
    assert [one.id for one in other.get_reflections_by_session("s", user_id="ana")] == [second.id]
    assert other.get_reflection(first.id, "bo") is None
    assert other.get_reflection(first.id) == other.get_reflection(first.id, "ana") != None  # noqa: E711
    te.save_reflection(first, "bo", "t")
    assert {other.get_reflection(first.id, user).user_id for user in ("ana", "bo")} == {"ana", "bo"}
    for ask in (other.get_reflection, other.delete_reflection):
        with pytest.raises(SeveralUsers) as caught:
            ask(first.id)
        assert not any(name in str(caught.value) for name in ("ana", "bo", first.id))
    assert te.delete_reflection(first.id, "bo")
    assert not te.delete_reflection(first.id, "bo")
    assert te.delete_reflection(first.id, "ana")
    assert te.delete_session("s", "bo") == 1
    assert te.delete_user("ana") == 1
    assert other.get_reflections("ana") == []


def test_statistics_are_those_of_the_configured_store(persistence_mode: str) -> None:
    create_default_luna_store().get_or_create_profile("ana", "mars")
    create_default_te_store().save_reflection(ReflectionFactory(), "ana")
    stats = get_storage_stats()
    assert (stats.luna.users, stats.luna.profiles, stats.te.sessions, stats.te.reflections) == (1, 1, 1, 1)
    assert (stats.luna.size > 0) == (stats.te.size > 0) == (persistence_mode != "memory")


def test_the_default_store_of_a_process_in_memory_is_one(settings: Any) -> None:
    settings.ORB_PERSISTENCE = "memory"
    create_default_luna_store().set_active_mode("somebody", "mars")
    assert create_default_luna_store().get_active_mode("somebody") == "mars"
    assert persistence.InMemoryLunaPreferencesStore().get_active_mode("somebody") is None


def test_an_unknown_mode_starts_as_default_does_with_its_own_ids() -> None:
    profile = persistence.InMemoryLunaPreferencesStore().get_or_create_profile("ana", "spaceship")
    assert profile.preferences == ("balanced-ui",)
    assert [(one.id, one.description) for one in profile.constraints] == [
        ("constraint-spaceship-0", "require-confirmation")
    ]


@pytest.mark.parametrize("name", ["database", "sql"])
@pytest.mark.django_db
def test_database_is_another_word_for_sql(settings: Any, name: str) -> None:
    settings.ORB_PERSISTENCE = name
    create_default_luna_store().set_active_mode("ana", "mars")
    assert persistence.SqlLunaPreferencesStore().get_active_mode("ana") == "mars"


def test_a_mode_that_nobody_knows_is_an_error(settings: Any) -> None:
    settings.ORB_PERSISTENCE = "cloud"
    with pytest.raises(ImproperlyConfigured, match="set it to memory, file or sql"):
        create_default_luna_store()


@pytest.mark.django_db
def test_sql_without_tables_is_an_error_and_no_other_store(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ORB_PERSISTENCE = "sql"
    monkeypatch.setattr("django.db.backends.base.introspection.BaseDatabaseIntrospection.table_names", lambda *_: [])
    with pytest.raises(
        StoreUnavailable,
        match="has no table orb_changes, orb_rejects, orb_runs, orb_user_keys, te_reflections; run: manage.py migrate",
    ):
        create_default_te_store()


@pytest.mark.django_db
def test_the_guides_migrations(sample: Path) -> None:
    assert migrate_luna_file_to_sql(sample).migrated == 72
    assert migrate_te_file_to_sql(sample).migrated == 142
    again = migrate_all_file_to_sql(sample)
    assert (again.luna.migrated, again.te.migrated, again.errors, again.success) == (0, 0, [], True)


@pytest.mark.django_db
def test_the_guides_exports_hold_what_the_store_does(settings: Any, sample: Path) -> None:
    migrate_all_file_to_sql(sample, backup=False)
    settings.ORB_PERSISTENCE = "sql"
    assert export_luna_data() == json.loads((sample / "luna/profiles.json").read_bytes())
    tree = json.loads((sample / "te/reflections.json").read_bytes())["sessions"]
    assert {name: len(items) for name, items in export_te_data()["sessions"].items()} == {
        name: len(items) for name, items in tree.items()
    }
    assert list(export_te_data("demo-1")["userSessions"]) == ["demo-1"]
    assert list(export_luna_data("demo-1")) == ["demo-1"]


def test_a_backup_is_made_before_a_guides_migration(settings: Any, sample: Path, tmp_path: Path, db: None) -> None:
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    migrate_te_file_to_sql(sample)
    migrate_luna_file_to_sql(sample, backup=False)
    (made,) = (tmp_path / "backups").iterdir()
    assert (made / "te.json").read_bytes() == (sample / "te/reflections.json").read_bytes()


@pytest.mark.django_db
def test_a_migration_that_leaves_something_out_says_what(data_dir: Path) -> None:
    write_json(data_dir / "te/reflections.json", {"sessions": {"s": [{"id": 5}]}, "userSessions": {}})
    result = migrate_te_file_to_sql(data_dir)
    assert not result.success
    assert result.errors[0] == "$.sessions.s[0].id: expected text, got a number"


def test_the_real_files_are_valid(sample: Path) -> None:
    tree = json.loads((sample / "luna/profiles.json").read_text())
    assert validate_luna_file_data(tree).valid
    assert all(validate_luna_profile(one).valid for user in tree.values() for one in user["profiles"].values())
    assert validate_te_file_data((sample / "te/reflections.json").read_bytes()).valid
    assert len(validate_te_file_data((sample / "te/reflections.json").read_bytes()).warnings) == 39


def test_the_guides_own_sample_is_valid() -> None:
    assert validate_luna_file_data(GUIDE_SAMPLE).valid
    assert validate_luna_file_data(GUIDE_SAMPLE).errors == []


def test_sanitising_keeps_every_constraint_of_the_real_files(sample: Path) -> None:
    tree = json.loads((sample / "luna/profiles.json").read_text())
    for profile in (one for user in tree.values() for one in user["profiles"].values()):
        changes: list[Any] = []
        clean = sanitize_luna_profile(profile, changes=changes)
        assert clean is not None
        assert (clean.as_json(), changes) == (profile, [])


def test_verdicts_list_every_problem() -> None:
    decision = validate_te_reflection({"id": 5, "input": None, "output": "o", "tags": ["a", 1]})
    assert not decision.valid
    assert decision.errors == [
        "$.id: expected text, got a number",
        "$.input: expected text, got null",
        "$.tags[1]: expected text, got a number",
        "$.createdAt: is missing",
    ]
    assert validate_te_reflection(ReflectionFactory()).valid
    assert validate_luna_file_data([]).errors == ["$: expected an object with one member per user"]
    assert not validate_luna_file_data({"a": float("nan")}).valid


def test_sanitised_reflections_are_valid() -> None:
    clean = sanitize_te_reflection({"input": 5, "tags": None})
    assert isinstance(clean, Reflection)
    assert validate_te_reflection(clean).valid
    assert sanitize_te_reflection({"input": 5}, new_id=None) is None
    assert sanitize_luna_profile({"modeId": "mars"}) is None
    assert isinstance(sanitize_luna_profile({"userId": "ana"}), Profile)


def test_json_files_are_read_and_written_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "made" / "x.json"
    assert read_json(path, {"a": 1}) == {"a": 1}
    write_json(path, {"7": 1.0, "b": "é"})
    assert path.read_text() == '{\n  "7": 1,\n  "b": "é"\n}'
    assert read_json(path, None) == {"7": 1, "b": "é"}
    path.write_text("{")
    with pytest.raises(DocumentCorrupt, match="line 1"):
        read_json(path, {})
    with pytest.raises(ValueError, match="nan"):
        write_json(path, float("nan"))
    assert path.read_text() == "{"


def test_a_store_of_ones_own_takes_a_clock(tmp_path: Path) -> None:
    from luna.domain import DOMAIN
    from luna.preferences import Preferences
    from tests.support.factories import BEGIN

    assert Preferences(MemoryStore(DOMAIN), now=lambda: BEGIN).get_or_create_profile("ana", "sol").updated_at == BEGIN


def test_a_directory_of_somebody_elses_making_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir(mode=0o755)
    write_json(tmp_path / "x" / "y.json", 1)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o755
    for value in (b"abc", {1}, {5: 1}, float("inf")):
        with pytest.raises(ValueError, match="JSON has no"):
            write_json(tmp_path / "x" / "y.json", value)


def test_values_that_no_parser_returns_are_answered_not_raised() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (endless, {5: 1}, {"a": {5: 1}}):
        assert not validate_luna_profile(value).valid
        assert not validate_te_reflection(value).valid
        assert not validate_luna_file_data(value).valid
        changes: list[Any] = []
        assert sanitize_te_reflection(value, changes=changes) is None
        assert changes


def test_the_interface_has_the_names_of_the_guide_and_no_others() -> None:
    assert sorted(persistence.__all__) == sorted(guide.__all__)
    assert set(persistence.__all__) <= set(dir(persistence))
    for name in persistence.__all__:
        assert getattr(persistence, name) is getattr(guide, name)
    with pytest.raises(AttributeError, match="has no attribute 'migrate_everything'"):
        _ = persistence.migrate_everything
