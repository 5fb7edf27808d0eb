"""Commands and operations go on past a row that does not decode, name it, and say so by their exit code."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse

from orbsite.models.ledger import Change
from orbsite.operations.files.export import export
from orbsite.operations.records.sanitize import sanitize
from orbsite.operations.retention.apply import retain
from orbsite.operations.search_index import index
from orbsite.operations.statistics.stats import stats
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from te.models import ReflectionRow
from te.records import Reflection
from tests.management.test_commands import run
from tests.support.bad_cells import OF_POSTGRESQL, OF_SQLITE, SECRET, Cell, reflections, spoil

pytestmark = pytest.mark.django_db(databases="__all__")
BAD = "d"
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
PATH = 'reflections ["ana", "d"]'


def _path(cell: Cell) -> str:
    """Return what a finding calls the row: its user may be what is wrong."""
    return 'reflections ["", "d"]' if cell.column == "user_id" else PATH


@pytest.fixture(params=OF_SQLITE, ids=lambda cell: cell.id)
def spoiled(request: pytest.FixtureRequest, db: None) -> Cell:
    SqlStore(DOMAIN).put(reflections())
    spoil("default", request.param, BAD)
    cell: Cell = request.param
    return cell


@pytest.fixture(params=OF_POSTGRESQL, ids=lambda cell: cell.id)
def in_postgresql(request: pytest.FixtureRequest, postgresql_alias: str) -> SqlStore:
    store = SqlStore(DOMAIN, postgresql_alias)
    store.put(reflections())
    spoil(postgresql_alias, request.param, BAD)
    return store


def test_an_export_tells_counts_and_leaves_out_the_row_alone(spoiled: Cell, tmp_path: Path) -> None:
    code, report = run("export_orb_files", "--from", "sql", "--only", "te", "--to", tmp_path / "out")
    told = report["domains"]["te"]
    assert (code, report["ok"], told["exported"], told["rejected"]) == (1, False, 6, 1)
    assert [one["path"] for one in report["findings"]] == [_path(spoiled)]
    assert SECRET not in json.dumps(report)
    items = json.loads((tmp_path / "out/te/reflections.json").read_bytes())["sessions"]["s"]
    assert {one["id"] for one in items} == set("abcefg")


def test_an_export_from_postgresql_does_so_too(in_postgresql: SqlStore, tmp_path: Path) -> None:
    report = export([in_postgresql], tmp_path / "out")
    assert (report.exit_code, report.domains["te"].total("exported"), report.domains["te"].total("rejected")) == (
        1,
        6,
        1,
    )
    assert [one.path for one in report.domains["te"].findings] == [PATH]


def test_verification_names_the_row(spoiled: Cell, tmp_path: Path) -> None:
    export([SqlStore(DOMAIN)], tmp_path / "data")  # without the row, which is extra
    code, report = run("verify_orb_files", "--only", "te", "--data-dir", tmp_path / "data")
    assert (code, report["domains"]["te"]["equal"], report["domains"]["te"]["extra"]) == (1, 6, 1)
    assert [one["path"] for one in report["findings"]] == [_path(spoiled)]
    assert SECRET not in json.dumps(report)


def test_verification_names_a_row_that_differs_from_the_file(spoiled: Cell, tmp_path: Path) -> None:
    items = [{**one.as_json(), "sessionId": None, "userId": None} for one in reflections()]
    items = [{name: value for name, value in one.items() if value is not None} for one in items]
    base = tmp_path / "data"
    (base / "te").mkdir(parents=True, mode=0o700)
    base.chmod(0o700)
    (base / "te/reflections.json").write_text(json.dumps({"sessions": {"s": items}, "userSessions": {"ana": ["s"]}}))
    (base / "te/reflections.json").chmod(0o600)
    code, report = run("verify_orb_files", "--only", "te", "--data-dir", base)
    told = report["domains"]["te"]
    if spoiled.column == "user_id":  # by its key, it is another row
        assert (code, told["differ"], told["missing"], told["extra"]) == (1, 0, 1, 1)
    else:
        assert (code, told["differ"], told["missing"], told["extra"]) == (1, 1, 0, 0)
    assert "does not decode" in report["findings"][-1]["message"]
    assert SECRET not in json.dumps(report)


def test_a_migration_rejects_the_item_whose_row_does_not_decode(spoiled: Cell, tmp_path: Path) -> None:
    export([SqlStore(DOMAIN)], tmp_path / "data")
    code, report = run("migrate_orb_files", "--only", "te", "--data-dir", tmp_path / "data", "--no-backup")
    assert (code, report["domains"]["te"]["unchanged"]) == (0, 6)


def test_statistics_count_the_row_as_invalid(spoiled: Cell, settings: Any) -> None:
    settings.ORB_PERSISTENCE = "sql"
    facts = stats([SqlStore(DOMAIN)], now=lambda: NOW).domains["te"].facts
    assert (facts["invalid"], facts["reflections"]) == (1, 7)
    code, report = run("orb_stats")
    assert (code, report["domains"]["te"]["invalid"]) == (0, 1)


def test_statistics_of_postgresql_do_so_too(in_postgresql: SqlStore) -> None:
    told = stats([in_postgresql], now=lambda: NOW).domains["te"]
    assert told.facts["invalid"] == 1
    assert (told.details["oldest"] or "").startswith("20")


def test_the_index_of_words_goes_on(spoiled: Cell) -> None:
    code, report = run("index_orb_search")
    assert (code, report["domains"]["te"]["read"], report["domains"]["te"]["unreadable"]) == (1, 7, 1)
    assert [one["path"] for one in report["findings"]] == [_path(spoiled)]


def test_the_index_of_words_goes_on_in_postgresql(in_postgresql: SqlStore) -> None:
    report = index([DOMAIN], now=lambda: NOW, using=in_postgresql.using)
    assert (report.exit_code, report.domains["te"].total("indexed")) == (1, 7)


def test_sanitizing_lists_the_row_and_keeps_what_it_mends(spoiled: Cell) -> None:
    for apply in (False, True):
        report = sanitize([DOMAIN], now=lambda: NOW, apply=apply)
        told = report.domains["te"]
        assert (told.total("read"), told.total("valid")) == (7, 6)
        assert told.total("mended") + told.total("rejected") == 1
        assert {one.path for one in told.findings} == {_path(spoiled)}
        assert SECRET not in str(told.findings)
    assert Change.objects.filter(key='["ana","d"]').count() == told.total("mended")
    store = SqlStore(DOMAIN)
    assert len(store.find(Reflection)) == 6 + told.total("mended")
    assert store.refused() == told.total("rejected")


@pytest.mark.parametrize("dry_run", [True, False])
def test_retention_keeps_the_row_and_names_it(spoiled: Cell, dry_run: bool) -> None:
    policy = Policy(max_age_days=1)
    report = retain([SqlStore(DOMAIN)], policy, now=lambda: NOW, dry_run=dry_run, force=True)
    told = report.domains["te"]
    assert SECRET not in str(told.findings)
    assert [one.path for one in told.findings if one.path == _path(spoiled) and "stay" in one.message] == [
        _path(spoiled)
    ]
    left = SqlStore(DOMAIN).count(Reflection)
    assert left == (7 if dry_run else 1)


@pytest.mark.parametrize("keep_tags", [(), ("x",)])
def test_retention_by_tags_and_sessions_goes_on(spoiled: Cell, keep_tags: tuple[str, ...]) -> None:
    policy = Policy(max_age_days=1, keep_tags=keep_tags)
    retain([SqlStore(DOMAIN)], policy, now=lambda: NOW, force=True)
    assert SqlStore(DOMAIN).count(Reflection) == 1


@pytest.mark.slow
def test_pages_of_the_admin_show_the_others(spoiled: Cell, admin_client: Client) -> None:
    listed = reverse("admin:te_reflectionrow_changelist")
    for query in ({}, {"user_id": "ana"}, {"tag": "x", "user_id": "ana"}, {"from": "2020-01-01"}, {"q": "a"}):
        answer = admin_client.get(listed, query)
        assert answer.status_code == 200, query
    other = reverse("admin:te_reflectionrow_change", args=[ReflectionRow.objects.get(id="b").pk])
    assert f'href="{other}' in admin_client.get(listed).content.decode()
    for name, args in (
        ("te_reflectionrow_change", [ReflectionRow.objects.get(id=BAD).pk]),
        ("te_reflectionrow_history", [ReflectionRow.objects.get(id=BAD).pk]),
        ("session", ["ana", "s"]),
        ("index", []),
    ):
        answer = admin_client.get(reverse(f"admin:{name}", args=args), follow=True)
        assert answer.status_code == 200, name
    assert (
        admin_client.get(
            reverse("admin:te_reflectionrow_change", args=[ReflectionRow.objects.get(id="a").pk])
        ).status_code
        == 200
    )


def test_pages_of_the_admin_show_the_others_in_spoiled_keys(admin_client: Client) -> None:
    SqlStore(DOMAIN).put(reflections())
    for column in ("user_id", "id"):
        spoil("default", Cell(column, "CAST(x'7aff' AS TEXT)"), {"user_id": "c", "id": "d"}[column])
    answer = admin_client.get(reverse("admin:te_reflectionrow_changelist"))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "key", ["CAST(x'00ff' AS TEXT)", "CAST(x'64ff' AS TEXT)", "CAST(x'7aff' AS TEXT)", "x'64'", "''"]
)
@pytest.mark.parametrize("column", ["id", "user_id"])
@pytest.mark.parametrize("page", [1, 2, 3, 1000])
def test_a_row_whose_key_is_no_text_hides_no_other(key: str, column: str, page: int, tmp_path: Path) -> None:
    store = SqlStore(DOMAIN)
    store.put(reflections())
    spoil("default", Cell(column, key), BAD)
    findings: list[Any] = []
    assert [one.id for one in store.walk(Reflection, page=page, findings=findings)] == list("abcefg")
    assert len(findings) == 1
    assert [one.id for one in store.find(Reflection, oldest_first=True)] == list("abcefg")
    assert (store.refused(), store.sums(Reflection).records) == (1, 7)
    report = export([store], tmp_path / "out")
    assert (report.exit_code, report.domains["te"].total("rejected")) == (1, 1)
    assert sanitize([DOMAIN], now=lambda: NOW, apply=True).domains["te"].total("rejected") == 1
    told = index([DOMAIN], now=lambda: NOW)
    assert (told.exit_code, told.domains["te"].total("unreadable")) == (1, 1)
    assert retain([store], Policy(max_age_days=1), now=lambda: NOW, force=True).domains["te"].total("removed") == 6
    assert stats([store], now=lambda: NOW).domains["te"].facts["invalid"] == 1


def test_cells_of_the_ledger_in_the_row_of_a_wrong_type_hide_nothing(tmp_path: Path) -> None:
    store = SqlStore(DOMAIN)
    store.put(reflections())
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE te_reflections SET position = 'x', digest = x'00', run_id = 'y' WHERE id = 'd'")
        cursor.execute("UPDATE te_reflections SET position = 2 WHERE id = 'e'")
    assert len(list(store.walk(Reflection))) == 7
    assert store.rows(Reflection, [("ana", "d")])["ana", "d"].position is None
    assert export([store], tmp_path / "out").exit_code == 0
    assert sanitize([DOMAIN], now=lambda: NOW).domains["te"].total("valid") == 7
    assert index([DOMAIN], now=lambda: NOW).exit_code == 0
    assert retain([store], Policy(max_age_days=1), now=lambda: NOW, force=True).domains["te"].total("removed") == 7
