from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from luna.domain import DOMAIN as LUNA
from luna.models import ActiveModeRow, ProfileRow
from luna.presets import new_profile
from luna.records import ActiveMode, Profile
from orbsite.admin.diff import ADDED, REMOVED, _is_slow, differences, differences_of_json
from orbsite.admin.records.history import PAGE, changes_of
from orbsite.models.audit_log import Event
from orbsite.models.ledger import Change, Run
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.records.delete import remove
from orbsite.operations.records.edit import edit
from orbsite.storage.errors import Conflict
from orbsite.storage.records.digest import digest
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.admin.browsing import followed, form_of, link_of, shapes_of
from tests.support.factories import ProfileFactory, ReflectionFactory
from tests.support.suites import naughty_strings

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALIASES = ["default", pytest.param("postgresql", marks=pytest.mark.django_db(databases="__all__"))]


def _hand(minutes: int = 0, reason: str = "") -> Actor:
    return Actor(actor="ana's nurse", at=NOW + timedelta(minutes=minutes), reason=reason)


def _saved(**fields: Any) -> Reflection:
    record: Reflection = ReflectionFactory(**fields)
    SqlStore(TE).put([record])
    return record


def _url(record: Any, name: str = "record_history", *more: Any) -> str:
    domain = "te" if isinstance(record, Reflection) else "luna"
    return reverse(f"admin:{name}", args=[domain, record.plural, record.key, *more])


def _page(client: Client, record: Any, **query: Any) -> str:
    answer = client.get(_url(record), query)
    assert answer.status_code == 200
    return answer.content.decode()


def _now(record: Any) -> Any:
    store = SqlStore(TE if isinstance(record, Reflection) else LUNA)
    return store.fetch(type(record), [record.key]).get(record.key)


@pytest.fixture(params=ALIASES)
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgresql_alias")) if request.param == "postgresql" else request.param


def test_an_edit_is_a_run_with_what_was_there_before(alias: str) -> None:
    store, record = SqlStore(TE, alias), ReflectionFactory(extra={"score": 10**20})
    store.put([record])
    new = msgspec.structs.replace(record, notes="seen")
    report = edit(store, new, hand=_hand(reason="asked to"), expect=digest(record))
    run, change = Run.objects.using(alias).get(), Change.objects.using(alias).get()
    assert (report.run, run.operation, run.state, run.started_at) == (run.pk, "edit", "complete", NOW)
    assert (change.actor, change.reason, change.after, change.at) == ("ana's nurse", "asked to", digest(new), None)
    assert json.loads(change.before)["record"]["score"] == 10**20
    assert run.counts == {"te": {"reflections": {"changed": 1}}}
    assert edit(store, new, hand=_hand()).run is None
    assert Run.objects.using(alias).count() == 1


@pytest.mark.django_db(databases="__all__")
def test_an_edit_reads_the_row_once_and_locks_it_once(postgresql_alias: str) -> None:
    store, record = SqlStore(TE, postgresql_alias), ReflectionFactory()
    store.put([record])
    with CaptureQueriesContext(connections[postgresql_alias]) as queries:
        edit(store, msgspec.structs.replace(record, notes="x"), hand=_hand(), expect=digest(record))
    reads = [one["sql"] for one in queries if one["sql"].startswith("SELECT") and '"te_reflections"' in one["sql"]]
    assert [sql.endswith("FOR UPDATE") for sql in reads] == [True]


def test_an_edit_and_its_note_are_one(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, record = SqlStore(TE, alias), ReflectionFactory()
    store.put([record])

    def fail(*arguments: Any, **named: Any) -> None:
        raise Conflict("in between")

    monkeypatch.setattr(SqlStore, "load", fail)
    with pytest.raises(Conflict):
        edit(store, msgspec.structs.replace(record, notes="x"), hand=_hand())
    assert (Run.objects.using(alias).count(), Change.objects.using(alias).count()) == (0, 0)


def test_nobody_overwrites_what_they_have_not_seen(alias: str) -> None:
    store, record = SqlStore(TE, alias), ReflectionFactory()
    store.put([record])
    new = msgspec.structs.replace(record, notes="x")
    with pytest.raises(Conflict):
        edit(store, new, hand=_hand(), expect="0" * 64)
    with pytest.raises(Conflict):
        edit(store, new, hand=_hand(), free=True)
    with pytest.raises(Conflict):
        edit(store, ReflectionFactory(id="gone"), hand=_hand(), expect="0" * 64)
    with pytest.raises(Conflict):
        remove(store, Reflection, [record.key], hand=_hand(), expect="0" * 64)
    assert (store.fetch(Reflection, [record.key])[record.key], Run.objects.using(alias).count()) == (record, 0)


def test_the_time_of_a_change_never_goes_back(alias: str) -> None:
    store, later = SqlStore(LUNA, alias), NOW + timedelta(days=1)
    store.put([ProfileFactory(mode_id="mars", updated_at=later), ActiveMode(user_id="ana", mode_id="x")])
    profile = next(iter(store.walk(Profile)))
    edit(store, msgspec.structs.replace(profile, preferences=()), hand=_hand())
    edit(store, ActiveMode(user_id="ana", mode_id="y"), hand=_hand())
    assert next(iter(store.walk(Profile))).updated_at == later
    assert next(iter(store.walk(ActiveMode))).updated_at == NOW


def test_history_is_found_by_an_index(alias: str) -> None:
    run = Run.objects.using(alias).create(operation="migrate", started_at=NOW)
    Change.objects.using(alias).bulk_create(
        Change(run=run, domain="te", kind="reflections", key=f'["ana","{at}"]', before="{}") for at in range(2000)
    )
    rows = changes_of(TE, Reflection, ("ana", "r")).using(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("ANALYZE orb_changes")
    assert "orb_changes_history" in rows.explain()


def test_history_shows_who_changed_what_when_and_why(admin_client: Client) -> None:
    record = _saved(notes="<b>old</b>\nstays", tags=("a", "b"))
    new = msgspec.structs.replace(record, notes="<i>new</i>\nstays", tags=("b", "c"))
    edit(SqlStore(TE), new, hand=_hand(reason="<u>why</u>"))
    page = _page(admin_client, record)
    for text in ("ana&#x27;s nurse", "&lt;u&gt;why&lt;/u&gt;", "2026-03-01 12:00:00 UTC", "&lt;b&gt;old&lt;/b&gt;"):
        assert text in page
    assert '<del><span class="orb-sign">−</span>&lt;b&gt;old&lt;/b&gt;</del>' in page
    assert '<ins><span class="orb-sign">+</span>&lt;i&gt;new&lt;/i&gt;</ins>' in page
    assert '<span><span class="orb-sign"> </span>stays</span>' in page
    assert '<h4 class="orb-field">output</h4>' not in page


def test_the_admins_own_link_leads_to_it(admin_client: Client) -> None:
    record = _saved(id="a/b?c")
    page = admin_client.get(reverse("admin:te_reflectionrow_change", args=["a_2Fb_3Fc"]))
    assert followed(page, admin_client.get(link_of(page, "/history/$")).headers["Location"]) == _url(record)


def test_a_revert_puts_back_what_was_there_and_is_an_edit_itself(admin_client: Client) -> None:
    record = _saved(notes="old", session_id="s")
    moved = msgspec.structs.replace(record, notes="new", session_id="t")
    ReflectionRow.objects.update(position=3)
    edit(SqlStore(TE), moved, hand=_hand())
    form = form_of(admin_client.get(_url(record)), "expect")
    answer = admin_client.post(_url(record, "record_revert", Change.objects.get().pk), form | {"reason": ["a\nslip"]})
    assert answer.headers["Location"] == _url(record)
    row = ReflectionRow.objects.get()
    assert (row.record(), row.position, row.run_id) == (record, 3, None)
    first, second = Change.objects.order_by("pk")
    assert (second.actor, second.reason) == ("admin", f"took back change {first.pk}: a slip")
    assert second.run.operation == "edit"
    page = _page(admin_client, record)
    assert page.count("Restore the version before this change") == 1
    assert "The version before this change is the current version." in page


def test_a_revert_is_refused_where_the_record_has_changed_since_the_page(admin_client: Client) -> None:
    record = _saved(notes="old")
    edit(SqlStore(TE), msgspec.structs.replace(record, notes="new"), hand=_hand())
    form = form_of(admin_client.get(_url(record)), "expect")
    SqlStore(TE).put([msgspec.structs.replace(record, notes="by a program")])
    admin_client.post(_url(record, "record_revert", Change.objects.get().pk), form)
    page = _page(admin_client, record)
    assert "Nothing was changed: the record was changed by another writer" in page
    assert "also written without history" in page
    assert _now(record).notes == "by a program"


def test_what_a_migration_replaced_is_put_back_and_stays_so(admin_client: Client, data_dir: Path) -> None:
    path = data_dir / "luna/profiles.json"
    path.parent.mkdir(mode=0o700)
    old, new = (ProfileFactory(mode_id="mars", updated_at=NOW + timedelta(days=at)) for at in range(2))
    for record in (old, new):
        path.write_text(json.dumps({"ana": {"profiles": {"mars": record.as_json()}}}))
        path.chmod(0o600)
        migrate([LUNA], data_dir, now=lambda: NOW)
    page = _page(admin_client, new)
    assert "Replaced by a migration" in page
    form = form_of(admin_client.get(_url(new)), "expect")
    admin_client.post(_url(new, "record_revert", Change.objects.get().pk), form)
    there = _now(new)
    assert (there.preferences, there.updated_at > new.updated_at) == (old.preferences, True)
    assert migrate([LUNA], data_dir, now=lambda: NOW).domains["luna"].counts["profiles"]["kept"] == 1
    assert _now(new) == there


def test_what_was_added_is_taken_back_and_comes_back(admin_client: Client) -> None:
    record = ReflectionFactory()
    edit(SqlStore(TE), record, hand=_hand(), free=True)
    assert "Added" in _page(admin_client, record)
    form = form_of(admin_client.get(_url(record)), "expect")
    admin_client.post(_url(record, "record_revert", Change.objects.get().pk), form)
    assert _now(record) is None
    page = _page(admin_client, record)
    assert "does not exist now" in page
    tombstone = Change.objects.get(run__operation="remove")
    noted = Event.objects.get(act="records removed")
    assert (noted.actor, noted.subject, noted.facts) == (
        "admin",
        "te/reflections",
        {"run": tombstone.run_id, "records": 1},
    )
    admin_client.post(_url(record, "record_revert", tombstone.pk), {"expect": ""})
    assert _now(record) == record
    assert "Restored, " in _page(admin_client, record)
    assert not Change.objects.filter(pk=tombstone.pk).exists()


def test_a_reset_shows_what_differs_and_then_does_it(admin_client: Client) -> None:
    record = ProfileFactory(user_id="ana", mode_id="mars", extra={"later": 1})
    SqlStore(LUNA).put([record])
    url = _url(record, "record_reset")
    page = admin_client.get(reverse("admin:luna_profilerow_change", args=[ProfileRow.objects.get().pk]))
    assert link_of(page, "reset") == url
    shown = admin_client.get(url)
    assert "no-work-alerts" in shown.content.decode()
    assert "updatedAt" not in shown.content.decode()
    assert _now(record) == record
    admin_client.post(url, form_of(shown, "expect"))
    there, first = _now(record), new_profile("ana", "mars", NOW)
    assert (there.preferences, there.constraints, there.extra) == (first.preferences, first.constraints, {"later": 1})
    assert "reset to the preset" in _page(admin_client, record)
    assert "This record already equals its preset" in admin_client.get(url).content.decode()


def test_a_reset_is_for_records_that_have_a_preset_and_are_there(admin_client: Client) -> None:
    assert admin_client.get(_url(_saved(), "record_reset")).status_code == 404
    assert admin_client.get(_url(ProfileFactory(), "record_reset")).status_code == 404


def test_pages_follow_each_other_without_a_gap(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    record = _saved(notes="0")
    for number in range(1, PAGE + 6):
        edit(SqlStore(TE), msgspec.structs.replace(record, notes=str(number)), hand=_hand(number))
    with django_assert_max_num_queries(12):
        first = admin_client.get(_url(record))
    second = admin_client.get(followed(first, link_of(first, "before=")))
    for number in range(1, PAGE + 6):
        line = f'<ins><span class="orb-sign">+</span>{number}</ins>'
        assert (line in first.content.decode()) is (number > 5), number
        assert (line in second.content.decode()) is (number <= 5), number
    assert "also written without history" not in first.content.decode() + second.content.decode()


def test_a_tombstone_on_top_takes_no_change_from_the_pages(admin_client: Client) -> None:
    record = _saved(notes="0")
    for number in range(1, PAGE + 6):
        edit(SqlStore(TE), msgspec.structs.replace(record, notes=str(number)), hand=_hand(number))
    report = remove(SqlStore(TE), Reflection, [record.key], hand=_hand(99))
    Change.objects.filter(run_id=report.run).update(at=NOW)  # as retention's, which stand in no page of their own
    first = admin_client.get(_url(record), {"tombstone": Change.objects.get(run_id=report.run).pk})
    second = admin_client.get(followed(first, link_of(first, "before=")))
    shown = [one.change.pk for page in (first, second) for one in page.context["versions"]]
    assert shown == list(Change.objects.order_by("-pk").values_list("pk", flat=True))


def test_nothing_is_taken_away_that_the_page_has_not_shown(admin_client: Client) -> None:
    record = ReflectionFactory()
    edit(SqlStore(TE), record, hand=_hand(), free=True)
    admin_client.post(_url(record, "record_revert", Change.objects.get().pk), {"expect": ""})
    assert _now(record) == record
    assert "Nothing was changed" in _page(admin_client, record)


def test_nobody_sees_or_changes_what_they_may_not(client: Client) -> None:
    record = _saved(notes="old")
    edit(SqlStore(TE), msgspec.structs.replace(record, notes="new"), hand=_hand())
    user = User.objects.create_user("somebody", password="x", is_staff=True)
    client.force_login(user)
    revert = _url(record, "record_revert", Change.objects.get().pk)
    for url in (_url(record), reverse("admin:removed")):
        assert client.get(url).status_code == 404
    assert client.post(revert).status_code == 404
    user.user_permissions.add(Permission.objects.get(codename="view_reflectionrow"))
    page = client.get(_url(record))
    assert "ana&#x27;s nurse" in page.content.decode()
    assert client.post(revert, {"expect": digest(_now(record))}).status_code == 403
    assert client.get(revert).status_code == 405
    assert _now(record).notes == "new"


@pytest.mark.parametrize(
    "address", ["te/reflections/none", "te/profiles/a,b", "luna/profiles/a", "x/y/z", "te/reflections/~!"]
)
def test_what_is_not_there_has_no_page(admin_client: Client, address: str) -> None:
    assert admin_client.get(f"/admin/console/records/{address}/history/").status_code == 404
    assert admin_client.get(f"/admin/console/records/{address}/history/?before=9&tombstone=x").status_code in (200, 404)


def test_a_change_of_another_record_is_not_taken_back_here(admin_client: Client) -> None:
    record, other = _saved(notes="old"), _saved()
    edit(SqlStore(TE), msgspec.structs.replace(record, notes="new"), hand=_hand())
    url = _url(other, "record_revert", Change.objects.get().pk)
    assert admin_client.post(url, {"expect": digest(other)}).status_code == 404


def test_hostile_strings_are_texts_in_every_history(admin_client: Client) -> None:
    strings = naughty_strings()
    tame, hostile = _saved(notes="old", tags=("a",)), _saved(notes="old", tags=("a",))
    edit(SqlStore(TE), msgspec.structs.replace(tame, notes="a\nb", tags=("b",)), hand=_hand(reason="c"))
    texts = tuple(strings)
    edited = msgspec.structs.replace(hostile, input="\n".join(texts), notes=" ".join(texts), tags=texts)
    edit(SqlStore(TE), edited, hand=_hand(reason=texts[200]))
    assert shapes_of(admin_client.get(_url(hostile))) <= shapes_of(admin_client.get(_url(tame)))


def test_an_active_mode_has_a_history_too(admin_client: Client) -> None:
    ActiveModeRow(user_id="..", mode_id="mars").save()
    url = reverse("admin:luna_activemoderow_change", args=[".."])
    form = form_of(admin_client.get(url), "mode_id")
    assert admin_client.post(url, form | {"mode_id": ["forge"]}).status_code == 302
    page = _page(admin_client, ActiveMode(user_id="..", mode_id="forge"))
    assert '<ins><span class="orb-sign">+</span>forge</ins>' in page


def test_what_differs_is_told_field_by_field() -> None:
    old = ReflectionFactory(input="a\nb\nc", tags=("x", "y"), extra={"score": 1})
    new = msgspec.structs.replace(old, input="a\nB\nc", tags=("y",), notes="n", extra=None)
    found = {part.name: [(line.sign, line.text) for line in part.lines] for part in differences(old, new)}
    assert found["input"] == [(" ", "a"), ("-", "b"), ("+", "B"), (" ", "c")]
    assert found["tags"] == [("-", "x"), (" ", "y")]
    assert (found["notes"], found["score"]) == ([("+", "n")], [("-", "1")])
    assert list(found) == ["input", "tags", "notes", "score"]
    assert differences(old, old) == []
    assert {line.sign for part in differences(None, old) for line in part.lines} == {ADDED}


def test_long_texts_are_told_apart_in_bounded_time() -> None:
    old = ReflectionFactory(input="\n".join(f"{at % 7}" for at in range(20_000)), output="x" * 300_000)
    new = msgspec.structs.replace(old, input="\n".join(f"{at % 5}" for at in range(20_000)), output="y" * 300_000)
    parts = differences(old, new)
    assert [len(part.lines) for part in parts] == [2002, 2]
    assert max(len(line.text) for part in parts for line in part.lines) == 2000
    assert {line.sign for line in parts[1].lines} == {REMOVED, ADDED}


def test_lines_that_come_again_and_again_are_not_compared_each_with_each() -> None:
    same = ["x"] * 1000
    other = ["x" if at % 2 else f"y{at}" for at in range(1000)]
    assert _is_slow(same, other)
    assert _is_slow(other, same)
    blank = [line for at in range(500) for line in ("", f"a line {at}")]
    assert not _is_slow(blank[:300], blank[10:300])
    parts = differences_of_json({"input": "\n".join(same)}, {"input": "\n".join(other)})
    signs = [line.sign for part in parts for line in part.lines]
    assert signs.count(REMOVED) == signs.count(ADDED) == 1000, "without a look for what is the same"


def test_a_page_names_a_run_by_its_number_for_people_or_says_that_it_is_elsewhere(admin_client: Client) -> None:
    run = Run.objects.create(operation="migrate", state="complete", started_at=NOW)
    record = _saved()
    page = reverse("admin:te_reflectionrow_change", args=[ReflectionRow.objects.get(id=record.id).pk])
    for uid, shown, history in (
        (run.uid, f"{run.pk} (migrate)", f"run {run.pk}</a> (migrate)"),
        (run.pk, "a run of another database", "written by a run of another database"),
    ):
        ReflectionRow.objects.update(run_id=uid)
        texts = [admin_client.get(page).content.decode(), _page(admin_client, record)]
        assert shown in texts[0]
        assert history in texts[1]
        assert not any(str(run.uid) in text for text in texts)
    change = Change.objects.create(run=run, domain="te", kind="reflections", key="[]", before="{}", before_run=run.uid)
    text = admin_client.get(reverse("admin:orbsite_change_change", args=[change.pk])).content.decode()
    assert f"{run.pk} (migrate)" in text
    assert str(run.uid) not in text
