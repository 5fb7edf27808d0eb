"""Profiles whose preferences or constraints are JSON objects, as the earlier system's hosted line has them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connections, transaction
from django.test import Client
from django.urls import reverse

from luna.domain import DOMAIN
from luna.models import ProfileRow
from luna.records import Profile
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.migration.migrate import import_database, migrate
from orbsite.operations.records.edit import edit
from orbsite.persistence import sanitize_luna_profile, validate_luna_profile
from orbsite.storage.clock import utc_now
from orbsite.storage.file.content import Content
from orbsite.storage.findings import Finding
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.digest import digest
from orbsite.stores import open_sql_store
from tests.admin.browsing import form_of
from tests.support.factories import ObjectProfileFactory
from tests.support.own_databases import own_database

TIME = "2024-01-01T00:00:00.000Z"
PREFERENCES = {"tone": "calm", "learnt": ["key: value"], "10": {"a": [1, 1.5, 1e21, None, True]}, "__proto__": {}}
CONSTRAINTS = {"constraint-1704067200000": {"type": "other", "active": True}, "quiet": "22:00"}
MODES = ("work", "personal", "research")


def whole(mode: str = "work", **fields: Any) -> dict[str, Any]:
    named = {"userId": "ana", "modeId": mode, "preferences": PREFERENCES, "constraints": CONSTRAINTS}
    return named | {"updatedAt": TIME} | fields


def document(*profiles: dict[str, Any]) -> bytes:
    tree = {"ana": {"activeMode": "work", "profiles": {one["modeId"]: one for one in profiles}}}
    return json.dumps(tree, ensure_ascii=False, indent=2).replace("1e+21", "1e+21").encode()


FORMS = [
    whole("work"),
    whole("personal", preferences=["learnt: value"], constraints={}),
    whole("research", preferences={}, constraints=["plain", {"id": "constraint-1", "type": "other", "active": True}]),
    whole("later", preferences={"a": {}}, score=0.5),
]


def test_a_file_keeps_objects_word_for_word() -> None:
    data = Content(DOMAIN, document(*FORMS)).encode()
    assert Content(DOMAIN, data).encode() == data
    assert list(json.loads(data)["ana"]["profiles"]["work"]["preferences"]) == ["10", "tone", "learnt", "__proto__"]
    assert json.loads(data)["ana"]["profiles"]["work"]["preferences"] == PREFERENCES


@pytest.mark.parametrize(
    ("name", "wrong", "path"),
    [
        ("preferences", {"a": "x\x00"}, "$.preferences.a"),
        ("preferences", {"\x00": 1}, '$.preferences["\\u0000"] (the key)'),
        ("constraints", {"a": [2**53 + 1]}, "$.constraints.a[0]"),
        ("constraints", {"a": {"b": "\ud800"}}, "$.constraints.a.b"),
        ("preferences", "calm", "$.preferences"),
        ("preferences", 5, "$.preferences"),
        ("constraints", None, "$.constraints"),
        ("preferences", [{}], "$.preferences[0]"),
    ],
)
def test_what_no_record_holds_is_found_in_objects_too(name: str, wrong: Any, path: str) -> None:
    decision = validate_luna_profile(whole(**{name: wrong}))
    assert not decision.valid
    assert any(str(one).startswith(path) for one in decision.errors), decision.errors


def test_an_object_is_nested_as_deep_as_a_document_allows() -> None:
    deep: Any = "x"
    for _ in range(91):
        deep = {"a": deep}
    assert validate_luna_profile(whole(preferences=deep)).valid
    store = MemoryStore(DOMAIN)
    record = ObjectProfileFactory(preferences=deep)
    store.put([record])
    for _ in range(2):
        deep = {"a": deep}
    assert not validate_luna_profile(whole(preferences=deep)).valid


def test_mending_keeps_an_object_and_leaves_out_what_cannot_be_kept() -> None:
    changes: list[Finding] = []
    mended = sanitize_luna_profile(whole(), changes=changes)
    assert mended is not None
    assert (mended.preferences, mended.constraints, changes) == (PREFERENCES, CONSTRAINTS, [])
    mended = sanitize_luna_profile(whole(preferences={"a": 1, "b": "\x00"}, constraints="no"), changes=changes)
    assert mended is not None
    assert (mended.preferences, mended.constraints) == ({"a": 1}, ())
    assert [one.path for one in changes] == ["$.preferences.b", "$.constraints"]


def test_a_record_from_a_store_shares_no_object_with_it() -> None:
    store = MemoryStore(DOMAIN)
    record = ObjectProfileFactory(preferences={"a": {"b": []}})
    store.put([record])
    for one in (record, *store.find(Profile)):
        one.preferences["a"]["b"].append("changed")
    assert store.find(Profile)[0].preferences == {"a": {"b": []}}


def test_an_object_has_texts_and_no_tags() -> None:
    store = MemoryStore(DOMAIN)
    store.put([ObjectProfileFactory(preferences={"theme": {"colour": "Dark"}})])
    assert [len(store.find(Profile, text=text)) for text in ("dark", "COLOUR", "light")] == [1, 1, 0]
    assert store.find(Profile, tag="theme") == []


@pytest.mark.django_db(databases="__all__")
@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_the_database_takes_lists_and_objects_and_nothing_else(alias: str, postgresql_alias: str) -> None:
    for column in ("preferences", "constraints"):
        for value in ("[]", "{}", '"x"', "1", "null"):
            values = {"preferences": "[]", "constraints": "[]"} | {column: value}
            statement = (
                "INSERT INTO luna_profiles (user_id, mode_id, preferences, constraints, updated_at, digest) "
                f"VALUES ('ana', '{column} {value}', %s, %s, '2024-01-01 00:00:00', '')"
            )
            with transaction.atomic(alias), connections[alias].cursor() as cursor:
                if value in ("[]", "{}"):
                    cursor.execute(statement, list(values.values()))
                    continue
                with pytest.raises(IntegrityError), transaction.atomic(alias):
                    cursor.execute(statement, list(values.values()))


@pytest.mark.django_db
def test_a_migration_and_an_export_give_objects_back(tmp_path: Path) -> None:
    from orbsite.operations.files.export import document_of
    from orbsite.storage.base.snapshot import snapshots

    base = tmp_path / "data"
    (base / "luna").mkdir(mode=0o700, parents=True)
    base.chmod(0o700)
    (base / "luna/profiles.json").write_bytes(Content(DOMAIN, document(*FORMS)).encode())
    (base / "luna/profiles.json").chmod(0o600)
    report = migrate([DOMAIN], base, now=utc_now)
    assert report.ok
    assert report.domains["luna"].counts["profiles"]["new"] == 4
    assert migrate([DOMAIN], base, now=utc_now).domains["luna"].counts["profiles"]["unchanged"] == 4
    with snapshots([open_sql_store(DOMAIN)]) as (taken,):
        exported = json.loads(document_of(taken))
    assert exported == json.loads((base / "luna/profiles.json").read_bytes())


def hosted(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE luna_profiles (user_id TEXT, mode_id TEXT, preferences TEXT, constraints TEXT, updated_at TEXT)"
        )
        connection.executemany(
            "INSERT INTO luna_profiles VALUES ('ana', ?, ?, ?, ?)",
            [
                (one["modeId"], json.dumps(one["preferences"]), json.dumps(one["constraints"]), TIME)
                for one in FORMS[:3]
            ],
        )
        connection.commit()
    return path


@pytest.mark.django_db
def test_an_import_takes_both_forms(tmp_path: Path) -> None:
    report = import_database([DOMAIN], str(hosted(tmp_path / "orb.db")), now=utc_now)
    assert report.domains["luna"].counts["profiles"]["new"] == 3
    store = open_sql_store(DOMAIN)
    found = {one.mode_id: one.as_json() for one in store.find(Profile, {"user_id": "ana"})}
    assert found == {one["modeId"]: one for one in FORMS[:3]}


@pytest.mark.django_db
@pytest.mark.usefixtures("postgresql_alias")
def test_the_hosted_line_in_postgresql_comes_over_with_row_level_security() -> None:
    import psycopg

    with own_database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE luna_profiles (user_id text, mode_id text, preferences jsonb, constraints jsonb, "
                "updated_at timestamptz, PRIMARY KEY (user_id, mode_id))"
            )
            for one in FORMS[:3]:
                connection.execute(
                    "INSERT INTO luna_profiles VALUES ('ana', %s, %s, %s, %s)",
                    [one["modeId"], json.dumps(one["preferences"]), json.dumps(one["constraints"]), TIME],
                )
            connection.execute("ALTER TABLE luna_profiles ENABLE ROW LEVEL SECURITY")
            connection.execute("CREATE POLICY own ON luna_profiles USING (user_id = current_setting('app.user', true))")
        report = import_database([DOMAIN], url, now=utc_now)
    assert report.domains["luna"].counts["profiles"]["new"] == 3
    found = {one.mode_id: one.as_json() for one in open_sql_store(DOMAIN).find(Profile)}
    assert found == {one["modeId"]: one for one in FORMS[:3]}


def _row() -> ProfileRow:
    row = ProfileRow(user_id="ana", mode_id="work", preferences=PREFERENCES, constraints=CONSTRAINTS, updated_at=TIME)
    row.updated_at = ObjectProfileFactory().updated_at
    row.save()
    return row


@pytest.mark.django_db
def test_the_console_shows_an_object_and_changes_it_only_where_somebody_does(admin_client: Client) -> None:
    row = _row()
    url = reverse("admin:luna_profilerow_change", args=[row.pk])
    form = form_of(admin_client.get(url), "updated_at")
    assert json.loads(form["preferences"][0]) == PREFERENCES
    form["constraints"] = ['{"quiet": "23:00"}']
    answer = admin_client.post(url, form)
    assert answer.status_code == 302, answer.context["errors"]
    saved = ProfileRow.objects.get()
    assert (saved.preferences, saved.constraints) == (PREFERENCES, {"quiet": "23:00"})
    form = form_of(admin_client.get(url), "updated_at")
    form["preferences"] = ['["a list now"]']
    assert admin_client.post(url, form).status_code == 302
    assert ProfileRow.objects.get().preferences == ["a list now"]
    form = form_of(admin_client.get(url), "updated_at")
    form["constraints"] = ['{"quiet": ']
    assert admin_client.post(url, form).status_code == 200


@pytest.mark.django_db
def test_the_list_of_profiles_and_a_history_show_objects(admin_client: Client) -> None:
    row = _row()
    assert "calm" in admin_client.get(reverse("admin:luna_profilerow_changelist")).content.decode()
    record = row.record()
    changed = msgspec.structs.replace(record, preferences={"tone": "brisk"})
    hand = Actor(actor=User.objects.get().username, at=utc_now(), reason="")
    edit(open_sql_store(DOMAIN), changed, hand=hand, expect=digest(record))
    page = admin_client.get(reverse("admin:record_history", args=["luna", "profiles", record.key])).content.decode()
    assert "brisk" in page
    assert "calm" in page
