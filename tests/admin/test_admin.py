from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from luna.models import ProfileRow
from orbsite.admin.base.changelist import BoundedPaginator
from orbsite.admin.base.messages import refused
from orbsite.models.ledger import Change, Reject
from orbsite.persistence import migrate_all_file_to_sql, migrate_te_file_to_sql
from orbsite.storage.errors import Conflict, SaveOutcomeUnknown
from orbsite.storage.records.digest import digest
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from tests.admin.browsing import form_of
from tests.support.factories import ReflectionFactory

pytestmark = pytest.mark.django_db
LISTS = ("luna_profilerow", "luna_activemoderow", "te_reflectionrow", "orbsite_run")


@pytest.fixture
def admin(admin_client: Client, sample: Path) -> Client:
    migrate_all_file_to_sql(sample)
    return admin_client


def _page(client: Client, name: str, *arguments: Any, **query: str) -> str:
    response = client.get(reverse(f"admin:{name}", args=arguments), query)
    assert response.status_code == 200
    return response.content.decode()


def test_every_list_shows_what_was_migrated(admin: Client) -> None:
    assert "72 profiles" in _page(admin, "luna_profilerow_changelist")
    assert "15 active modes" in _page(admin, "luna_activemoderow_changelist")
    assert "142 reflections" in _page(admin, "te_reflectionrow_changelist")
    assert "migrate" in _page(admin, "orbsite_run_changelist")
    assert "c-358112" in _page(
        admin, "luna_profilerow_change", ProfileRow.objects.get(user_id="ana-0", mode_id="default").pk
    )


def test_lists_are_filtered(admin: Client) -> None:
    number = ProfileRow.objects.filter(mode_id="forge").count()
    assert 0 < number < 72
    assert f"{number} profiles" in _page(admin, "luna_profilerow_changelist", mode_id="forge")
    assert "0 reflections" in _page(admin, "te_reflectionrow_changelist", created_at__gte="2090-01-01 00:00:00+00:00")


def test_search_is_for_a_whole_id_code_point_by_code_point(admin: Client) -> None:
    row = ReflectionRow.objects.get(id="6bd5d0e4-e752-4497-9f27-db2abd48d535")
    for name in ("a b", "a\nb", "Größe", "'", '"', " "):
        ReflectionRow.objects.filter(pk=row.pk).update(session_id=name)
        assert "1 result" in _page(admin, "te_reflectionrow_changelist", q=name)
    assert "0 results" in _page(admin, "te_reflectionrow_changelist", q=row.id.upper())
    assert "user/with/slash" in _page(admin, "luna_profilerow_changelist", q="user/with/slash")


@pytest.mark.parametrize("query", [{"q": "\x00"}, {"user_id__exact": "\x00"}])
def test_what_no_database_can_be_asked_is_no_error(admin: Client, query: dict[str, str]) -> None:
    for name in ("luna_profilerow", "te_reflectionrow"):
        assert admin.get(reverse(f"admin:{name}_changelist"), query).status_code in (200, 302)
    assert admin.get("/admin/te/reflectionrow/%00/change/").status_code == 302


def _form(page: Any) -> dict[str, Any]:
    fields = page.context["adminform"].form
    return {name: fields[name].value() if fields[name].value() is not None else "" for name in fields.fields}


def test_a_form_that_nobody_changed_changes_nothing(admin: Client) -> None:
    row = ReflectionRow.objects.get(id="6bd5d0e4-e752-4497-9f27-db2abd48d535")
    row.input, row.output, row.notes, row.session_id = "  a \nb\n", "\r\nx ", "", " "
    row.created_at = row.created_at.replace(microsecond=123_456)
    row.save()
    url = reverse("admin:te_reflectionrow_change", args=[row.pk]) + "?unlock=1"
    form = _form(admin.get(url))
    sent = {name: value.replace("\r\n", "\n").replace("\n", "\r\n") for name, value in form.items()}
    before = row.digest
    assert admin.post(url, sent).status_code == 302
    row.refresh_from_db()
    record = row.reading().record
    assert record is not None
    assert (row.digest, digest(record)) == (before, before)
    assert admin.post(url, sent | {"output": "new\r\nlines "}).status_code == 302
    row.refresh_from_db()
    assert (row.input, row.output, row.notes, row.created_at.microsecond) == ("  a \nb\n", "new\nlines ", "", 123_456)


def test_line_ends_stay_where_nobody_changed_the_text(admin: Client) -> None:
    row = ReflectionRow.objects.get(id="6bd5d0e4-e752-4497-9f27-db2abd48d535")
    row.input, row.notes, row.session_id = "a\rb\r\nc\nd", "x\ry", "one\rtwo\nthree"
    row.save()
    url = reverse("admin:te_reflectionrow_change", args=[row.pk]) + "?unlock=1"
    sent = form_of(admin.get(url), "expect")
    assert admin.post(url, sent | {"output": ["new"]}).status_code == 302
    there = ReflectionRow.objects.get(pk=row.pk)
    assert (there.output, there.input, there.notes) == ("new", row.input, row.notes)
    assert there.session_id == row.session_id


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", ["change", "delete"])
def test_a_save_is_tried_again_where_others_are_in_the_way(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    SqlStore(TE).put([ReflectionFactory(id="r", notes="old")])
    url = reverse(f"admin:te_reflectionrow_{page}", args=["r"])
    form = form_of(admin_client.get(url), "expect" if page == "change" else "post")
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    failures, rows = [OperationalError("database is locked")], SqlStore.rows
    failures[0].__cause__ = busy

    def rows_after_a_while(*arguments: Any, **named: Any) -> Any:
        if failures:
            raise failures.pop()
        return rows(*arguments, **named)

    monkeypatch.setattr(SqlStore, "rows", rows_after_a_while)
    assert admin_client.post(url, form | {"notes": ["new"]}).status_code == 302
    assert failures == []
    assert list(ReflectionRow.objects.values_list("notes", flat=True)) == (["new"] if page == "change" else [])
    assert Change.objects.count() == 1


def test_nobody_says_that_nothing_was_done_where_nobody_knows() -> None:
    assert refused("saved", SaveOutcomeUnknown("no answer")).startswith("It is unknown whether the change was saved")
    assert refused("saved", Conflict("taken")) == "Nothing was saved: taken"


@pytest.mark.parametrize(
    "text", ['["\\ud800"]', "[" * 2000, "[" + "9" * 5000 + "]", "[1e400]", "{", '{"a": 1, "a": 2}']
)
def test_json_that_no_record_may_hold_is_an_error_of_the_form(admin: Client, text: str) -> None:
    row = ProfileRow.objects.get(user_id="ana-0", mode_id="mars")
    url = reverse("admin:luna_profilerow_change", args=[row.pk])
    response = admin.post(url, _form(admin.get(url)) | {"constraints": text})
    assert response.status_code == 200
    assert response.context["errors"]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_counts_no_further_than_it_has_to(admin: Client, name: str, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(6) as queries:
        _page(admin, f"{name}_changelist")
    counts = [one["sql"] for one in queries.captured_queries if "COUNT(" in one["sql"]]
    assert counts
    assert all("LIMIT 10000" in sql for sql in counts)


def test_the_paginator_stops_counting(monkeypatch: pytest.MonkeyPatch, admin: Client) -> None:
    monkeypatch.setattr("orbsite.admin.base.changelist.MOST_COUNTED", 100)
    assert BoundedPaginator(ReflectionRow.objects.order_by("id"), 50).num_pages == 2


def test_a_reflection_is_edited_by_the_rules_of_the_record(admin: Client) -> None:
    row = ReflectionRow.objects.get(id="6bd5d0e4-e752-4497-9f27-db2abd48d535")
    url = reverse("admin:te_reflectionrow_change", args=[row.pk]) + "?unlock=1"
    form = {
        "session_id": "s",
        "input": "new",
        "output": "o",
        "notes": "",
        "created_at": "2024-01-01T00:00:00Z",
    }
    response = admin.post(url, form | {"tags": "[1]"})
    assert "$.tags[0]: expected text, got a number" in response.content.decode()
    assert admin.post(url, form | {"tags": '["a"]', "user_id": "thief"}).status_code == 302
    row.refresh_from_db()
    assert (row.input, row.tags, row.notes, row.user_id, row.run_id) == ("new", ["a"], None, "ana-0", None)


def test_ids_with_slashes_and_quotes_have_pages(admin: Client) -> None:
    row = ReflectionRow.objects.first()
    assert row is not None
    ReflectionRow.objects.filter(pk=row.pk).update(id="a/b?c=d&e=\"'<x>")
    assert "a/b?c=d&amp;e=&quot;&#x27;&lt;x&gt;" in _page(admin, "te_reflectionrow_changelist", q="a/b?c=d&e=\"'<x>")
    assert admin.get(reverse("admin:te_reflectionrow_changelist")).content.count(b"<x>") == 0


@pytest.mark.parametrize("name", ["run", "change", "reject"])
def test_the_ledger_is_read_only(admin: Client, name: str) -> None:
    assert admin.get(reverse(f"admin:orbsite_{name}_add")).status_code == 403
    assert b"Delete" not in admin.get(reverse(f"admin:orbsite_{name}_changelist")).content


def test_what_a_run_had_to_leave_is_listed_with_its_bytes(admin: Client, data_dir: Path) -> None:
    (data_dir / "te").mkdir()
    item = '{"id": "<b>x</b>", "input": "i", "output": "o", "tags": [], "createdAt": "soon"}'
    (data_dir / "te/reflections.json").write_text(f'{{"sessions": {{"s": [{item}]}}, "userSessions": {{}}}}')
    migrate_te_file_to_sql(data_dir)
    reject = Reject.objects.get()
    assert "$.sessions.s[0]" in _page(admin, "orbsite_reject_changelist", settled_by__isempty="1")
    page = _page(admin, "orbsite_reject_change", reject.pk)
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x</b>" not in page


def test_a_notice_says_where_the_store_in_use_is_another(admin: Client, settings: Any) -> None:
    settings.ORB_PERSISTENCE = "file"
    assert "The application uses the file store" in _page(admin, "index")
    settings.ORB_PERSISTENCE = "sql"
    assert "The application uses the" not in _page(admin, "index")


def test_pages_are_for_those_who_signed_in(client: Client) -> None:
    for name in LISTS:
        assert client.get(reverse(f"admin:{name}_changelist")).status_code == 302


def test_a_time_that_cannot_be_read_is_an_error_of_the_form(admin: Client) -> None:
    url = reverse("admin:te_reflectionrow_change", args=["6bd5d0e4-e752-4497-9f27-db2abd48d535"])
    form = _form(admin.get(url))
    for text in ("", "yesterday", "2024-01-01T24:00:00Z"):
        response = admin.post(url, form | {"created_at": text})
        assert response.context["adminform"].form.errors["created_at"]


def test_a_row_is_added_by_the_rules_of_the_record(admin: Client) -> None:
    url = reverse("admin:luna_profilerow_add")
    form = {
        "user_id": "new",
        "mode_id": "mars",
        "preferences": '["a"]',
        "constraints": "[]",
        "updated_at": "2024-01-01T00:00:00Z",
    }
    assert admin.post(url, form | {"user_id": ""}).status_code == 200
    assert admin.post(url, form).status_code == 302
    assert ProfileRow.objects.get(user_id="new").reading().record is not None
