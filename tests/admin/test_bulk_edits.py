from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from luna.models import ProfileRow
from orbsite.admin.records import bulk_actions
from orbsite.models.audit_log import Event
from orbsite.models.ledger import Change, Run
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.records.delete import remove
from orbsite.operations.records.edit import edit_each
from orbsite.operations.records.undelete import undelete
from orbsite.operations.scheduling.daily import chores
from orbsite.storage.errors import InvalidRecord, RecordUnreadable
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.admin.browsing import followed, form_of, link_of
from tests.support.factories import ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HAND = Actor(actor="admin", at=NOW, reason="tidying")
ALIASES = ["default", pytest.param("postgresql", marks=pytest.mark.django_db(databases="__all__"))]
LIST = "admin:te_reflectionrow_changelist"


@pytest.fixture(params=ALIASES)
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgresql_alias")) if request.param == "postgresql" else request.param


def _stored(number: int = 3, using: str = "default", **fields: Any) -> list[Reflection]:
    records = [ReflectionFactory(id=f"r-{at:04}", **({"tags": ("a",)} | fields)) for at in range(number)]
    SqlStore(TE, using).put(records)
    return records


def _chosen(client: Client, action: str, ids: list[str], **more: Any) -> Any:
    rows = [str(row.pk) for row in ReflectionRow.objects.filter(id__in=ids)]
    return client.post(reverse(LIST), {"action": action, "index": "0", "_selected_action": rows, **more})


def _done(client: Client, asked: Any, **told: str) -> Any:
    form = form_of(asked, "number") | {name: [value] for name, value in told.items()} | {"apply": ["1"]}
    return client.post(reverse(LIST), form)


def _tags() -> dict[str, list[str]]:
    return dict(ReflectionRow.objects.values_list("id", "tags"))


def test_each_record_is_edited_and_noted_in_one_run(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbsite.operations.records.edit._BATCH", 2)
    store, records = SqlStore(TE, alias), _stored(5, alias)
    keys = [record.key for record in records] + [("ana", "gone")]

    def change(record: Reflection) -> Reflection:
        return record if record.id == "r-0002" else msgspec.structs.replace(record, tags=(*record.tags, "b"))

    report = edit_each(store, Reflection, keys, change, hand=HAND)
    assert report.domains["te"].counts["reflections"] == {"changed": 4, "unchanged": 1, "missing": 1}
    run = Run.objects.using(alias).get()
    assert (run.pk, run.operation, run.counts["te"]["reflections"]["changed"]) == (report.run, "edit", 4)
    assert Change.objects.using(alias).filter(run=run, actor="admin", reason="tidying").count() == 4
    assert [one.tags for one in store.walk(Reflection)] == [("a", "b")] * 2 + [("a",)] + [("a", "b")] * 2


def test_all_are_edited_or_none(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbsite.operations.records.edit._BATCH", 2)
    store, records = SqlStore(TE, alias), _stored(5, alias)

    def change(record: Reflection) -> Reflection:
        return msgspec.structs.replace(record, tags=("\x00" if record.id == "r-0004" else "b",))

    with pytest.raises(InvalidRecord):
        edit_each(store, Reflection, [record.key for record in records], change, hand=HAND)
    assert list(store.walk(Reflection)) == records
    assert (Run.objects.using(alias).count(), Change.objects.using(alias).count()) == (0, 0)


def test_what_is_removed_comes_back_field_by_field(alias: str, data_dir: Any) -> None:
    store = SqlStore(TE, alias)
    records = _stored(4, alias, extra={"score": 0.1, "big": 10**20})
    ReflectionRow.objects.using(alias).filter(id="r-0001").update(position=7, run_id=5)
    columns = [field.name for field in ReflectionRow._meta.fields if not field.primary_key]
    before = list(ReflectionRow.objects.using(alias).order_by("id").values(*columns))
    report = remove(store, Reflection, [record.key for record in records[:3]] + [("ana", "gone")], hand=HAND)
    assert report.domains["te"].counts["reflections"] == {"removed": 3, "missing": 1}
    assert [one.id for one in store.walk(Reflection)] == ["r-0003"]
    tombstones = list(Change.objects.using(alias).order_by("key"))
    assert {(one.reason, one.actor, one.run.operation) for one in tombstones} == {("tidying", "admin", "remove")}
    back = undelete(store, Reflection, [one.pk for one in tombstones[:2]], hand=HAND)
    assert back.domains["te"].counts["reflections"]["restored"] == 2
    assert Run.objects.using(alias).get(operation="remove").state == "complete"
    undelete(store, Reflection, [one.pk for one in tombstones], hand=HAND)
    assert list(ReflectionRow.objects.using(alias).order_by("id").values(*columns)) == before
    assert Run.objects.using(alias).get(operation="remove").state == "rolled back"
    assert Change.objects.using(alias).filter(run__operation="remove").count() == 0


def test_what_has_the_key_since_is_kept(alias: str) -> None:
    store, (record,) = SqlStore(TE, alias), _stored(1, alias)
    remove(store, Reflection, [record.key], hand=HAND)
    new = msgspec.structs.replace(record, input="another")
    store.put([new])
    report = undelete(store, Reflection, [Change.objects.using(alias).get().pk], hand=HAND)
    assert (report.ok, report.domains["te"].counts["reflections"]["kept"]) == (False, 1)
    assert store.fetch(Reflection, [record.key]) == {record.key: new}
    assert Change.objects.using(alias).filter(run__operation="remove").count() == 1


def test_what_could_not_be_brought_back_is_not_removed(alias: str) -> None:
    store, records = SqlStore(TE, alias), _stored(2, alias)
    ReflectionRow.objects.using(alias).filter(id="r-0001").update(tags=[1])
    with pytest.raises(RecordUnreadable):
        remove(store, Reflection, [record.key for record in records], hand=HAND)
    assert ReflectionRow.objects.using(alias).count() == 2
    assert Run.objects.using(alias).count() == 0


def test_a_removal_by_hand_is_undone_and_expires_as_retention_does() -> None:
    store, records = SqlStore(TE), _stored(3)
    first = remove(store, Reflection, [records[0].key], hand=HAND)
    report = undo(str(first.run), [store], now=lambda: NOW)
    assert report.domains["te"].counts["reflections"]["restored"] == 1
    remove(store, Reflection, [records[1].key], hand=HAND)
    chores(lambda: NOW + timedelta(days=29))
    assert Change.objects.exclude(reason="").count() == 1
    chores(lambda: NOW + timedelta(days=31))
    assert Change.objects.count() == 0


def test_edits_with_a_reason_do_not_expire() -> None:
    _stored(1)
    edit_each(
        SqlStore(TE), Reflection, [("ana", "r-0000")], lambda one: msgspec.structs.replace(one, tags=()), hand=HAND
    )
    chores(lambda: NOW + timedelta(days=300))
    assert Change.objects.count() == 1


def test_tags_are_added_and_taken_away(admin_client: Client) -> None:
    _stored(3)
    asked = _chosen(admin_client, "tag", ["r-0000", "r-0001"])
    assert "Add tags: 2 reflections" in asked.content.decode()
    assert _tags() == {f"r-000{at}": ["a"] for at in range(3)}
    answer = _done(admin_client, asked, tags="b\r\n\r\na\r\nb\r\n c", reason="sorting")
    assert "Changed 2 records" in admin_client.get(answer.headers["Location"]).content.decode()
    assert _tags() == {"r-0000": ["a", "b", " c"], "r-0001": ["a", "b", " c"], "r-0002": ["a"]}
    assert {one.reason for one in Change.objects.all()} == {"sorting"}
    everything = _chosen(admin_client, "untag", ["r-0000", "r-0002"], select_across="1")
    assert form_of(everything, "number")["number"] == ["3"]
    answer = _done(admin_client, everything, tags="a\r\nc")
    assert _tags() == {"r-0000": ["b", " c"], "r-0001": ["b", " c"], "r-0002": []}


def test_tags_are_asked_for_again_where_none_is_written(admin_client: Client) -> None:
    _stored(1)
    answer = _done(admin_client, _chosen(admin_client, "tag", ["r-0000"]), tags="\r\n")
    assert "Enter at least one tag" in answer.content.decode()
    answer = _done(admin_client, _chosen(admin_client, "tag", ["r-0000"]), tags="a\x00")
    assert "NUL" in answer.content.decode()
    assert _tags() == {"r-0000": ["a"]}


def test_no_other_number_goes_than_was_shown(admin_client: Client) -> None:
    _stored(3)
    asked = _chosen(admin_client, "delete_selected", ["r-0000"], select_across="1")
    SqlStore(TE).put([ReflectionFactory(id="later")])
    again = _done(admin_client, asked)
    assert "reflections has changed and is now 4" in again.content.decode()
    assert ReflectionRow.objects.count() == 4
    assert _done(admin_client, again).status_code == 302
    assert ReflectionRow.objects.count() == 0


def test_too_many_are_refused(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    _stored(3)
    monkeypatch.setattr(bulk_actions, "MOST", 2)
    answer = _chosen(admin_client, "delete_selected", ["r-0000"], select_across="1")
    assert "more than 2 rows are selected" in admin_client.get(answer.headers["Location"]).content.decode()
    assert ReflectionRow.objects.count() == 3


def test_what_was_removed_is_listed_and_brought_back(admin_client: Client) -> None:
    records = _stored(3, notes="<b>kept</b>")
    _done(admin_client, _chosen(admin_client, "delete_selected", ["r-0000", "r-0001"]), reason="<i>spam</i>")
    event = Event.objects.get(act="records removed")
    assert (event.actor, event.subject, event.facts["records"]) == ("admin", "te/reflections", 2)
    runs = admin_client.get(reverse("admin:removed"))
    listed = admin_client.get(followed(runs, link_of(runs, "/te/reflections/$")))
    page = listed.content.decode()
    assert "&lt;i&gt;spam&lt;/i&gt;" in page
    assert "&lt;b&gt;kept&lt;/b&gt;" in page
    history = admin_client.get(followed(listed, link_of(listed, "tombstone=")))
    assert "Removed, " in history.content.decode()
    assert "Restore the record" in history.content.decode()
    url = listed.request["PATH_INFO"]
    assert "no record is selected" in admin_client.post(url, {}, follow=True).content.decode()
    tombstone = Change.objects.get(key='["ana","r-0000"]')
    answer = admin_client.post(url, {"tombstone": [tombstone.pk, "x"]}, follow=True)
    assert "Restored 1 records" in answer.content.decode()
    assert sorted(SqlStore(TE).walk(Reflection), key=lambda one: one.id) == [records[0], records[2]]


def test_the_page_of_one_row_removes_it_into_the_window_too(admin_client: Client) -> None:
    _stored(2)
    url = reverse("admin:te_reflectionrow_delete", args=["r_2D0000".replace("_2D", "-")])
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert Change.objects.get().reason == "removed by hand"
    ReflectionRow.objects.update(tags=[1])
    answer = admin_client.post(reverse("admin:te_reflectionrow_delete", args=["r-0001"]), {"post": "yes"}, follow=True)
    assert "Nothing was removed" in answer.content.decode()
    assert ReflectionRow.objects.count() == 1


def test_what_retention_removed_is_listed_with_its_history(admin_client: Client) -> None:
    _stored(3, created_at=NOW - timedelta(days=400))
    call_command("compact_orb_files", "--from", "sql", "--max-age-days", "90", "--force", "--format", "json")
    listed = admin_client.get(reverse("admin:removed_by", args=[Run.objects.get().pk, "te", "reflections"]))
    assert listed.content.decode().count('name="tombstone"') == 3
    history = admin_client.get(followed(listed, link_of(listed, "tombstone=")))
    assert "Removed by retention" in history.content.decode()
    form = form_of(history, "expect")
    tombstone = history.context["versions"][0].change
    admin_client.post(reverse("admin:record_revert", args=["te", "reflections", ("ana", "r-0000"), tombstone.pk]), form)
    assert ReflectionRow.objects.filter(id="r-0000").exists()
    admin_client.post(
        listed.request["PATH_INFO"], {"tombstone": list(Change.objects.exclude(reason="").values_list("pk", flat=True))}
    )
    assert ReflectionRow.objects.count() == 3


def test_a_long_list_of_what_was_removed_has_pages(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbsite.admin.records.trash.PAGE", 2)
    report = remove(SqlStore(TE), Reflection, [one.key for one in _stored(5)], hand=HAND)
    url, seen = reverse("admin:removed_by", args=[report.run, "te", "reflections"]), []
    while url:
        page = admin_client.get(url)
        seen += [tombstone.key[1] for tombstone in page.context["tombstones"]]
        url = followed(page, link_of(page, "after=")).replace("//", "/") if page.context["next"] else ""
    assert seen == [f"r-{at:04}" for at in range(5)]


def test_what_was_removed_is_found_however_many_runs_came_after_it(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbsite.admin.records.trash.RUNS", 2)
    runs = [remove(SqlStore(TE), Reflection, [one.key], hand=HAND).run for one in _stored(5)]
    Run.objects.filter(pk__in=runs[1:3]).update(counts={})  # retention that found nothing to remove
    page, seen = admin_client.get(reverse("admin:removed")), []
    while True:
        seen += [run.pk for run, _ in page.context["runs"]]
        if page.context["older"] is None:
            break
        page = admin_client.get(followed(page, link_of(page, "before=")))
    assert seen == [runs[4], runs[3], runs[0]]


def test_viewers_choose_and_restore_nothing(client: Client) -> None:
    _stored(2)
    report = remove(SqlStore(TE), Reflection, [("ana", "r-0000")], hand=HAND)
    user = User.objects.create_user("viewer", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_reflectionrow"))
    client.force_login(user)
    url = reverse("admin:removed_by", args=[report.run, "te", "reflections"])
    assert 'name="tombstone"' not in client.get(url).content.decode()
    assert client.post(url, {"tombstone": [Change.objects.get().pk]}).status_code == 403
    for action in ("tag", "untag", "delete_selected"):
        _chosen(client, action, ["r-0001"], apply="1", number="1", tags="x")
    assert _tags() == {"r-0001": ["a"]}
    assert client.get(reverse("admin:removed_by", args=[report.run, "luna", "profiles"])).status_code == 404


def test_a_rollback_keeps_what_was_edited_since(files: Any) -> None:
    run = migrate([TE], files, now=lambda: NOW).run
    row = ReflectionRow.objects.order_by("id").first()
    assert row is not None
    edit_each(
        SqlStore(TE),
        Reflection,
        [(row.user_id, row.id)],
        lambda one: msgspec.structs.replace(one, tags=("kept",)),
        hand=HAND,
    )
    call_command("rollback_orb_migration", str(run))
    assert list(ReflectionRow.objects.values_list("pk", flat=True)) == [row.pk]


def test_profiles_are_removed_by_user_and_mode(admin_client: Client) -> None:
    SqlStore(TE)
    from luna.domain import DOMAIN as LUNA

    SqlStore(LUNA).put([ProfileFactory(mode_id=one) for one in ("mars", "forge")])
    row = ProfileRow.objects.get(mode_id="mars")
    url = reverse("admin:luna_profilerow_changelist")
    asked = admin_client.post(url, {"action": "delete_selected", "index": "0", "_selected_action": [row.pk]})
    assert "ana, mars" in asked.content.decode()
    admin_client.post(url, form_of(asked, "number") | {"apply": ["1"]})
    assert list(ProfileRow.objects.values_list("mode_id", flat=True)) == ["forge"]


def test_a_list_of_an_earlier_version_chooses_nothing(admin_client: Client) -> None:
    _stored(2)
    form = {"action": "delete_selected", "index": "0", "_selected_action": ["r-0000", "r-0001"]}
    said = admin_client.post(reverse(LIST), form, follow=True).content.decode()
    assert "Items must be selected" in said
    assert ReflectionRow.objects.count() == 2
