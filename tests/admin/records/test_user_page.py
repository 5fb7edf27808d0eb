"""A user's page: everything of one user, by as many queries as for any other, and nothing that one may not see."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode
from orbsite.admin.records import user_summary
from orbsite.models.ledger import Change, Reject, Run
from orbsite.operations.ledger.erasure_list import enter
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.records.delete import remove
from orbsite.operations.records.edit import edit
from orbsite.storage.clock import utc_now
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.admin.browsing import form_of, link_of
from tests.admin.people import staff_client
from tests.admin.starting import words
from tests.support.bad_cells import OF_SQLITE, spoil
from tests.support.factories import ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db
QUERIES = 15
"""Session and person; a count and the rows of each of three kinds; sessions; the newest change, some of the newest, those of
the keys, and their runs; the salts of the erasure list, and a look for each."""
DAY = datetime(2026, 1, 31, tzinfo=UTC)
ODD = ("..", "a/../b", "a\r\nb", "?", "a,b", "~Lg", "👨‍👩‍👧", "'\"", "<x>", "x" * 255)
"""Ids for which addresses and forms need care; tests of addresses try all the others."""
VIEWS = ("te.view_reflectionrow", "luna.view_profilerow", "luna.view_activemoderow")


def address(user: str) -> str:
    return reverse("admin:user", args=[(user,)])


def page_of(client: Client, user: str) -> str:
    answer = client.get(address(user))
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def parts_of(client: Client, user: str) -> dict[str, str]:
    return {part.name: str(part.number) for part in client.get(address(user)).context["summary"].parts}


def fill(user: str, number: int) -> None:
    SqlStore(LUNA).put([ProfileFactory(user_id=user, mode_id=f"m-{at}") for at in range(min(number, 20))])
    SqlStore(LUNA).put([ActiveMode(user_id=user, mode_id="mars", updated_at=DAY)])
    SqlStore(TE).put(
        ReflectionFactory(id=f"r-{at}", user_id=user, session_id=f"s-{at % 15}", created_at=DAY + timedelta(hours=at))
        for at in range(number)
    )


def hand(reason: str = "") -> Actor:
    return Actor(actor="olga", at=utc_now(), reason=reason)


def test_everything_of_a_user_is_on_one_page(admin_client: Client) -> None:
    fill("ana", 4)
    fill("bo", 3)
    edit(SqlStore(TE), ReflectionFactory(id="r-1", user_id="ana", created_at=DAY, notes="n"), hand=hand("a check"))
    remove(SqlStore(TE), Reflection, [("ana", "r-0"), ("bo", "r-0")], hand=hand("too old"))
    assert parts_of(admin_client, "ana") == {"active_modes": "1", "profiles": "4", "reflections": "3"}
    summary = admin_client.get(address("ana")).context["summary"]
    assert [(one.what, one.who, one.reason, one.record) for one in summary.changes] == [
        ("edited", "olga", "a check", "reflections r-1")
    ]
    assert [(one.what, one.reason, one.record) for one in summary.removed] == [
        ("removed", "too old", "reflections r-0")
    ]
    text = words(admin_client.get(address("ana")))
    for shown in ("1 active mode", "4 profiles", "3 reflections", "mars", "s-2", "s-3", "Edited", "a check", "too old"):
        assert shown in text, shown
    assert "bo" not in text.split()
    assert "Restore the record" in admin_client.get(summary.removed[0].address).content.decode()
    assert "a check" in admin_client.get(summary.changes[0].address).content.decode()


def test_sessions_are_listed_latest_first_with_their_numbers(admin_client: Client, monkeypatch: Any) -> None:
    fill("ana", 40)
    (part,) = [one for one in admin_client.get(address("ana")).context["summary"].parts if one.name == "reflections"]
    assert [(one.name, str(one.number)) for one in part.sessions[:6]] == [
        ("s-9", "3"), ("s-8", "3"), ("s-7", "3"), ("s-6", "3"), ("s-5", "3"), ("s-4", "3"),
    ]  # fmt: skip
    assert len(part.sessions) == user_summary.SESSIONS
    assert admin_client.get(part.sessions[0].address).status_code == 200
    monkeypatch.setattr(user_summary, "COUNTED_ROWS", 20)
    (part,) = [one for one in admin_client.get(address("ana")).context["summary"].parts if one.name == "reflections"]
    assert [(one.name, str(one.number)) for one in part.sessions[:2]] == [("s-9", "2+"), ("s-8", "2+")]
    assert str(part.number) == "20+"


def test_the_page_asks_as_much_about_a_large_user_as_about_a_small_one(admin_client: Client) -> None:
    numbers = []
    enter("somebody", DAY, base=None, using="default")
    for user, number in (("small", 2), ("large", 120)):
        fill(user, number)
        for at in range(min(number, 12)):
            made = ReflectionFactory(id=f"r-{at}", user_id=user, created_at=DAY, notes=f"n-{at}")
            edit(SqlStore(TE), made, hand=hand())
        remove(SqlStore(TE), Reflection, [(user, "r-0")], hand=hand())
        with CaptureQueriesContext(connection) as queries:
            page_of(admin_client, user)
        numbers.append(len(queries))
    assert numbers == [QUERIES, QUERIES], [one["sql"] for one in queries.captured_queries]


def test_every_query_of_the_page_is_bounded(admin_client: Client) -> None:
    fill("ana", 30)
    with CaptureQueriesContext(connection) as queries:
        page_of(admin_client, "ana")
    about = [
        one["sql"]
        for one in queries.captured_queries
        if any(f'FROM "{table}"' in one["sql"] for table in ("te_reflections", "luna_profiles", "orb_changes"))
    ]
    assert len(about) == 8
    assert [sql for sql in about if "LIMIT" not in sql] == []
    scans = [sql for sql in about if any(re.match("SCAN (orb|te|luna)", step) for step in _plan(sql))]
    assert [sql for sql in scans if 'SELECT "orb_changes"."id" AS "pk" FROM "orb_changes"' not in sql] == []
    sorted_ones = [sql for sql in about if any("TEMP B-TREE" in step for step in _plan(sql))]
    assert [sql for sql in sorted_ones if '"orb_changes"."key" IN' not in sql] == []  # those of one key are few


def _plan(sql: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return [row[-1] for row in cursor.fetchall()]


def test_changes_that_others_have_made_since_hide_only_those_of_records_that_are_not_shown(
    admin_client: Client, monkeypatch: Any
) -> None:
    monkeypatch.setattr(user_summary, "LEDGER_ROWS", 5)
    fill("ana", 30)
    for name in ("r-1", "r-29"):
        edit(SqlStore(TE), ReflectionFactory(id=name, user_id="ana", created_at=DAY + timedelta(days=9)), hand=hand())
    edit(SqlStore(TE), ReflectionFactory(id="r-1", user_id="ana", created_at=DAY - timedelta(days=9)), hand=hand())
    run = Run.objects.create(operation="migrate", state="complete", started_at=utc_now())
    for at in range(9):
        Change.objects.create(run=run, domain="te", kind="reflections", key=f'["bo","{at}"]', before="{}", after="")
    summary = admin_client.get(address("ana")).context["summary"]
    assert [one.record for one in summary.changes] == ["reflections r-29"]


def test_any_user_has_a_page(admin_client: Client) -> None:
    SqlStore(LUNA).put([ProfileFactory(user_id=user) for user in ODD])
    for user in ODD:
        page = admin_client.get(address(user))
        assert (page.context["user_id"], page.context["summary"].parts[1].number) == (user, 1)
        assert admin_client.get(reverse("admin:users"), {"user": user})["Location"] == address(user)
        if len(user) < 4:
            listed = admin_client.get(page.context["summary"].parts[1].all)
            assert link_of(listed, "/console/users/.") == address(user)
        sent = form_of(admin_client.get(link_of(page, "/operations/erase/")), "user")["user"]
        assert sent == [re.sub("\r\n?|\n", "\r\n", user)]


def test_every_page_that_names_a_user_leads_to_the_page_about_the_user(admin_client: Client) -> None:
    fill("a/b", 2)
    edit(SqlStore(LUNA), ProfileFactory(user_id="a/b", mode_id="m-1"), hand=hand())
    report = remove(SqlStore(TE), Reflection, [("a/b", "r-0")], hand=hand())
    run = Run.objects.create(operation="migrate", state="complete", started_at=utc_now())
    Reject.objects.create(run=run, domain="te", kind="", path="$", reason="no", original="{}", owner="a/b")
    row = ReflectionRow.objects.get()
    for place in (
        reverse("admin:te_reflectionrow_changelist"),
        reverse("admin:te_reflectionrow_change", args=[row.pk]),
        reverse("admin:luna_profilerow_changelist"),
        reverse("admin:luna_activemoderow_changelist"),
        reverse("admin:session", args=[quote("a/b"), row.session_id]),
        reverse("admin:record_history", args=["luna", "profiles", ("a/b", "m-1")]),
        reverse("admin:orbsite_change_changelist"),
        reverse("admin:orbsite_reject_changelist"),
        reverse("admin:removed_by", args=[report.run, "te", "reflections"]),
    ):
        assert link_of(admin_client.get(place), "/console/users/.") == address("a/b"), place
    ledger = staff_client("lea", "orbsite.view_change", "orbsite.view_reject")
    for name in ("orbsite_change", "orbsite_reject"):
        assert "/console/users/" not in ledger.get(reverse(f"admin:{name}_changelist")).content.decode()


def test_rows_that_cannot_be_decoded_are_shown_with_the_others(admin_client: Client) -> None:
    SqlStore(TE).put([ReflectionFactory(id=f"r-{number}", user_id="ana") for number in range(len(OF_SQLITE) + 1)])
    for number, cell in enumerate(OF_SQLITE):
        spoil("default", cell, f"r-{number}")
    whole = admin_client.get(reverse("admin:te_reflectionrow_changelist"))
    assert len(whole.context["cl"].result_list) == len(OF_SQLITE) + 1
    (part,) = [one for one in admin_client.get(address("ana")).context["summary"].parts if one.name == "reflections"]
    assert part.number == len(OF_SQLITE)  # one has lost its user
    assert "ana" in page_of(admin_client, "ana")


def test_a_key_with_an_empty_part_has_no_history(admin_client: Client) -> None:
    run = Run.objects.create(operation="migrate", state="complete", started_at=utc_now())
    Change.objects.create(run=run, domain="te", kind="reflections", key='["ana",""]', before="{}", after="")
    Change.objects.create(run=run, domain="te", kind="reflections", key='["ana"]', before="{}", after="")
    (change,) = admin_client.get(address("ana")).context["summary"].changes
    assert (change.record, change.address) == ("reflections", "")


def test_an_address_of_no_user_is_not_found(admin_client: Client) -> None:
    for wrong in ("a,b", "~AA", "~%20", ""):
        assert admin_client.get(f"/admin/console/users/{wrong}/").status_code == 404, wrong
    assert admin_client.get(reverse("admin:users"), {"user": ""}).status_code == 302
    assert "Enter the id" in admin_client.get(reverse("admin:users"), {"user": "\0"}, follow=True).content.decode()


def test_a_viewer_sees_what_a_viewer_may_see_and_no_actions(admin_client: Client) -> None:
    fill("ana", 3)
    remove(SqlStore(TE), Reflection, [("ana", "r-0")], hand=hand())
    edit(SqlStore(LUNA), ProfileFactory(user_id="ana", mode_id="m-1"), hand=hand())
    every = staff_client("vera", group="viewer")
    assert parts_of(every, "ana") == {"active_modes": "1", "profiles": "3", "reflections": "2"}
    assert "?user=ana" in page_of(admin_client, "ana")
    assert "?user=ana" not in page_of(every, "ana")
    assert "Erase" not in page_of(every, "ana")
    assert "Erase" in page_of(admin_client, "ana")
    of_luna = staff_client("luke", *VIEWS[1:])
    summary = of_luna.get(address("ana")).context["summary"]
    assert [part.name for part in summary.parts] == ["active_modes", "profiles"]
    assert ([one.record for one in summary.changes], summary.removed) == (["profiles m-1"], [])
    for nobody in (staff_client("nora"), staff_client("pol", "orbsite.view_change")):
        assert nobody.get(address("ana")).status_code == 404
        assert nobody.get(reverse("admin:users")).status_code == 404
        assert reverse("admin:users") not in nobody.get("/admin/").content.decode()


def test_each_operation_needs_its_permission(admin_client: Client) -> None:
    fill("ana", 1)
    exporter = staff_client("ex", VIEWS[0], "orbsite.start_export")
    page = page_of(exporter, "ana")
    assert re.findall(r"/console/operations/(\w+)/\?user=ana", page) == ["export"]
    found = re.findall(r"/console/operations/(\w+)/\?user=ana", page_of(admin_client, "ana"))
    assert found == ["export", "compact", "erase"]


def test_a_user_with_nothing_has_a_page_that_says_what_to_do(admin_client: Client) -> None:
    text = words(admin_client.get(address("nobody")))
    assert "There are no records of this user." in text
    assert "Check the spelling" in text
    assert "Migrate the files" in text
    assert "add profiles by hand" in text
    viewer = words(staff_client("vera", *VIEWS).get(address("nobody")))
    assert "Migrate the files" not in viewer
    assert "by hand" not in viewer


def test_an_erased_user_is_said_to_be_erased(admin_client: Client, tmp_path: Any) -> None:
    fill("ana", 2)
    enter("bo", DAY, base=None, using="default")
    enter("ana", DAY + timedelta(days=1), base=None, using="default")
    text = page_of(admin_client, "ana")
    assert "This user was erased" in text
    assert 'title="2026-02-01 00:00:00 UTC"' in text
    assert "What is shown here was saved since." in text
    assert "There are no records of the user." in page_of(admin_client, "bo")
    assert "was erased" not in page_of(admin_client, "cleo")


def test_sealed_texts_are_masked(admin_client: Client, settings: Any) -> None:
    settings.ORB_KEYS = "k:a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
    SqlStore(TE).put([ReflectionFactory(user_id="ana", input="canary", output="canary")])
    SqlStore(LUNA).put([ProfileFactory(user_id="ana", preferences=("canary",))])
    text = page_of(admin_client, "ana")
    assert "(sealed)" in text
    assert "canary" not in text
    assert "orb:" not in text


def test_users_of_the_newest_records_are_a_step_away(
    admin_client: Client, django_assert_num_queries: Any, monkeypatch: Any
) -> None:
    assert "There are no records yet" in words(admin_client.get(reverse("admin:users")))
    fill("ana", 2)
    fill("a/b", 3)
    SqlStore(LUNA).put([ProfileFactory(user_id="0")])
    with django_assert_num_queries(5):  # session and person, and each of three kinds
        page = admin_client.get(reverse("admin:users"))
    assert [one for one, _ in page.context["users"]] == ["a/b", "ana", "0"]
    assert admin_client.get(link_of(page, "users/~")).context["user_id"] == "a/b"
    monkeypatch.setattr(user_summary, "USERS", 1)
    assert len(admin_client.get(reverse("admin:users")).context["users"]) == 1
