"""The lists of the admin cost what a page costs, however large the table is: queries pinned, counts and scans bounded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from luna.models import ProfileRow
from orbsite.admin.base.changelist import MOST_COUNTED, AtLeast, BoundedPaginator, QuickAdmin
from orbsite.models import audit_log
from orbsite.models.api_tokens import Token, issue
from orbsite.models.jobs import Job
from orbsite.models.ledger import Change, Reject, Run
from orbsite.models.retention import PolicyRun, RetentionPolicy
from orbsite.models.statistics import Growth
from orbsite.persistence import migrate_all_file_to_sql
from orbsite.storage.clock import utc_now
from te.models import ReflectionRow

pytestmark = pytest.mark.django_db

QUERIES = {
    "luna_profilerow": 5,  # the rows in which facets are counted
    "luna_activemoderow": 5,
    "te_reflectionrow": 5,
    "orbsite_run": 4,
    "orbsite_change": 4,
    "orbsite_reject": 4,
    "orbsite_growth": 4,
    "orbsite_job": 4,
    "orbsite_bulkmigration": 4,
    "orbsite_bulkdirectory": 5,  # the bulk migrations to choose from
    "orbsite_policyrun": 5,  # the policies to choose from
    "orbsite_retentionpolicy": 5,
    "orbsite_token": 4,
    "orbsite_event": 4,
}
"""Session, user, count and rows; what is more, and why."""
LARGE = ("luna_profiles", "luna_active_modes", "te_reflections", "orb_changes", "orb_rejects", "orb_audit", "orb_runs")
NOW = "2026-01-01T00:00:00Z"


def _rows(number: int) -> None:
    """Have so many rows of everything."""
    policy = RetentionPolicy.objects.create(name=f"p-{number}", domain="te", rules={"keep_last": 1})
    for at in range(number):
        run = Run.objects.create(operation="migrate", state="complete", started_at=NOW)
        Change.objects.create(run=run, domain="te", kind="reflections", key="[]", before="{}", after="")
        Reject.objects.create(
            run=run, domain="te", kind="reflections", path="$", reason="", original="{}", settled_by=run
        )
        Growth.objects.create(day=f"20{number + 10}-01-{at + 1:02}", domain="te", store="sql", size=1, noted_at=NOW)
        Job.objects.create(operation="validate", state="done", created_at=NOW)
        PolicyRun.objects.create(
            policy=policy, slot=f"20{number + 10}-01-{at + 1:02}T00:00:00Z", worker="w", started_at=NOW
        )
        issue(Token(name="t", scopes=["read"], every_user=True), utc_now())
        audit_log.note(utc_now(), "admin", "export")


@pytest.fixture
def client(admin_client: Client, sample: Path) -> Client:
    migrate_all_file_to_sql(sample)
    _rows(3)
    return admin_client


def _list(client: Client, name: str, **query: str) -> tuple[Any, list[str]]:
    with CaptureQueriesContext(connection) as queries:
        page = client.get(reverse(f"admin:{name}_changelist"), query)
    return page, [one["sql"] for one in queries.captured_queries]


def test_every_list_of_ours_is_pinned_here() -> None:
    ours = {
        f"{model._meta.app_label}_{model._meta.model_name}"
        for model in admin.site._registry
        if model._meta.app_label in ("orbsite", "luna", "te")
    }
    assert ours == set(QUERIES)


@pytest.mark.parametrize("name", QUERIES)
def test_a_list_takes_as_many_queries_for_many_rows_as_for_few(client: Client, name: str) -> None:
    few, first = _list(client, name)
    assert few.status_code == 200
    _rows(12)
    _, second = _list(client, name)
    assert (len(first), len(second)) == (QUERIES[name], QUERIES[name]), first


@pytest.mark.parametrize("name", QUERIES)
def test_a_list_counts_a_bounded_number_of_rows_and_asks_for_no_distinct_values(client: Client, name: str) -> None:
    _, queries = _list(client, name)
    counts = [sql for sql in queries if "COUNT(" in sql]
    small = {"orbsite_retentionpolicy"}
    assert counts
    assert name in small or all(f"LIMIT {MOST_COUNTED}" in sql for sql in counts)
    assert not [sql for sql in queries if "DISTINCT" in sql]


def _plan(sql: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return [row[-1] for row in cursor.fetchall()]


def _costly(queries: list[str]) -> list[tuple[str, list[str]]]:
    """Return what sorts a large table, or looks through it for the rows of a condition."""
    found = []
    for sql in queries:
        if not any(f'FROM "{table}"' in sql for table in LARGE) or not sql.startswith("SELECT"):
            continue
        plan = _plan(sql)
        sorts = any(step.startswith("USE TEMP B-TREE FOR ORDER BY") for step in plan)
        seeks = any(step.startswith(("SEARCH", "MULTI-INDEX")) for step in plan)
        by_key = "MULTI-INDEX OR" in plan  # what one id has is few
        if (sorts and not by_key) or ("WHERE" in sql and not seeks):
            found.append((sql, plan))
    return found


FILTERS = [
    ("luna_profilerow", {}),
    ("luna_profilerow", {"mode_id": "mars"}),
    ("luna_profilerow", {"q": "ana-0"}),
    ("luna_profilerow", {"o": "1"}),
    ("luna_profilerow", {"o": "-1"}),
    ("luna_activemoderow", {}),
    ("luna_activemoderow", {"mode_id": "mars"}),
    ("te_reflectionrow", {}),
    ("te_reflectionrow", {"p": "2"}),
    ("te_reflectionrow", {"o": "1"}),
    ("te_reflectionrow", {"created_at__gte": "2024-01-01 00:00:00+00:00"}),
    ("te_reflectionrow", {"user_id": "ana-0"}),
    ("te_reflectionrow", {"session_id": "default"}),
    ("te_reflectionrow", {"from": "2024-01-01", "to": "2024-12-31"}),
    ("luna_profilerow", {"user_id": "ana-0"}),
    ("orbsite_change", {}),
    ("orbsite_change", {"run__id__exact": "1"}),
    ("orbsite_reject", {}),
    ("orbsite_reject", {"domain__exact": "te"}),
    ("orbsite_reject", {"settled_by__isempty": "1"}),
    ("orbsite_event", {}),
    ("orbsite_event", {"act__exact": "export"}),
    ("orbsite_event", {"at__gte": "2024-01-01 00:00:00+00:00"}),
    ("orbsite_event", {"q": "admin"}),
    ("orbsite_run", {}),
    ("orbsite_run", {"operation__exact": "migrate"}),
]


@pytest.mark.parametrize(("name", "query"), FILTERS)
def test_no_list_sorts_or_looks_through_a_large_table(client: Client, name: str, query: dict[str, str]) -> None:
    page, queries = _list(client, name, **query)
    assert page.status_code == 200
    assert not _costly(queries)


def test_what_would_look_through_a_table_is_seen(client: Client) -> None:
    rows = ReflectionRow.objects.order_by("-created_at", "-id")
    for bad in (rows.filter(input="x"), rows.order_by("input")):
        with CaptureQueriesContext(connection) as queries:
            list(bad[:50])
        assert _costly([one["sql"] for one in queries.captured_queries])


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("te_reflectionrow", {"input__contains": "a"}),
        ("te_reflectionrow", {"output": "a"}),
        ("te_reflectionrow", {"user_id__icontains": "a"}),
        ("luna_profilerow", {"updated_at__gte": "2024-01-01 00:00:00+00:00"}),
        ("orbsite_change", {"kind__exact": "reflections"}),
        ("orbsite_change", {"run__operation": "migrate"}),
        ("orbsite_reject", {"reason__regex": "a"}),
    ],
)
def test_a_condition_that_no_index_answers_is_refused(client: Client, name: str, query: dict[str, str]) -> None:
    page, queries = _list(client, name, **query)
    assert page.status_code in (302, 400)
    assert not [sql for sql in queries if any(f'FROM "{table}"' in sql for table in LARGE)]


@pytest.mark.parametrize("name", ["te_reflectionrow", "luna_profilerow", "orbsite_event", "orbsite_change"])
def test_a_column_that_no_index_sorts_is_not_sorted_by(client: Client, name: str) -> None:
    columns = len(client.get(reverse(f"admin:{name}_changelist")).context["cl"].list_display)
    for column in range(columns):
        _, queries = _list(client, name, o=str(column))
        assert not _costly(queries), column


def test_the_facets_of_all_rows_are_not_counted(client: Client) -> None:
    for name in ("te_reflectionrow", "luna_profilerow", "orbsite_reject"):
        plain, _ = _list(client, name)
        page, queries = _list(client, name, _facets="1")
        assert len(queries) == QUERIES[name]
        assert "_facets" not in plain.content.decode()
        assert page.status_code == 200


def test_pages_go_no_deeper_than_what_is_counted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbsite.admin.base.changelist.MOST_COUNTED", 100)
    pages = BoundedPaginator(ReflectionRow.objects.order_by("id"), 50)
    assert (pages.count, pages.num_pages) == (100, 2)
    page, _ = _list(client, "te_reflectionrow")
    assert "100+ reflections" in page.content.decode()
    beyond, queries = _list(client, "te_reflectionrow", p="9999")
    assert beyond.status_code in (200, 302)
    offsets = [int(one) for sql in queries for one in re.findall(r"OFFSET (\d+)", sql)]
    assert all(offset < 100 for offset in offsets)


def test_a_number_at_which_counting_stopped_says_so() -> None:
    assert (str(AtLeast(10_000)), AtLeast(10_000) == 10_000, f"{AtLeast(7)}") == ("10,000+", True, "7+")


def test_every_run_of_the_ledger_can_be_chosen() -> None:
    operations = Path(__file__).parents[2] / "orbsite/operations"
    source = "\n".join(path.read_text() for path in operations.rglob("*.py"))
    named = set(re.findall(r"Run\.Operation\.(\w+)", source))
    assert named == set(Run.Operation.names)
    assert not re.findall(r'Run\([^)]*operation="|Run\.objects[^\n]*operation(?:__in)?=\(?"|begin\("', source)


def test_every_act_that_is_noted_can_be_chosen() -> None:
    from orbsite.operations.jobs.jobs import NOTED

    root = Path(__file__).parents[2]
    source = "\n".join(
        path.read_text() for package in ("orbsite", "luna", "te") for path in (root / package).rglob("*.py")
    )
    noted = set(re.findall(r'(?:trail|audit)\.note\(\s*\w+,\s*"([^"]+)"', source))
    noted |= set(re.findall(r'audit\.note\([^"]*?(?:"\w+", )?"([a-z ]+)"', source))
    assert noted | NOTED <= set(audit_log.ACTS)
    assert len(noted) > 5


def test_all_lists_of_records_and_of_the_ledger_are_quick() -> None:
    for model, page in admin.site._registry.items():
        if model._meta.db_table in LARGE:
            assert isinstance(page, QuickAdmin), model
    assert IncorrectLookupParameters
    assert ProfileRow in admin.site._registry
