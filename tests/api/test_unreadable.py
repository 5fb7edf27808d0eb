"""A row that does not decode is named beside what does, and no answer says "retry later" for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection

from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN
from tests.api.conftest import Caller, make_token, refused
from tests.support.bad_cells import OF_SQLITE, SECRET, Cell, reflections, spoil

pytestmark = pytest.mark.django_db
USER = "/api/v1/users/ana"
HERE = [cell for cell in OF_SQLITE if cell.column != "user_id"]


@pytest.fixture(autouse=True)
def in_sql(settings: Any) -> None:
    settings.ORB_PERSISTENCE = "sql"


@pytest.fixture(params=HERE, ids=lambda cell: cell.id)
def spoiled(request: pytest.FixtureRequest, db: None) -> Cell:
    SqlStore(DOMAIN).put(reflections())
    spoil("default", request.param, "d")
    cell: Cell = request.param
    return cell


def test_lists_name_it_and_show_the_others(spoiled: Cell, ana: Caller) -> None:
    answer = ana.get(f"{USER}/reflections")
    body = answer.json()
    assert (answer.status_code, [one["id"] for one in body["items"]]) == (200, list("gfecba"))
    [named] = body["unreadable"]
    assert (named["kind"], named["key"]) == ("reflections", ["ana", "d"])
    assert "does not decode" in named["message"]
    assert SECRET not in answer.content.decode()


def test_pages_show_each_of_the_others_once(spoiled: Cell, ana: Caller) -> None:
    seen, following, named = [], f"{USER}/reflections?limit=2", []
    while following:
        body = ana.get(following).json()
        seen += [one["id"] for one in body["items"]]
        named += [one["key"] for one in body.get("unreadable", ())]
        following = body["next"]
    assert seen == list("gfecba")
    assert ["ana", "d"] in named


def test_one_by_its_id_is_a_conflict_that_says_what_to_do(spoiled: Cell, ana: Caller) -> None:
    for act in (
        lambda: ana.get(f"{USER}/reflections/d"),
        lambda: ana.put(f"{USER}/reflections/d", {"input": "a", "output": "b"}),
        lambda: ana.patch(f"{USER}/reflections/d", {"input": "a"}),
        lambda: ana.delete(f"{USER}/reflections/d"),
    ):
        answer = act()
        body = refused(answer, 409, "unreadable")
        assert "does not decode" in body["detail"]
        assert SECRET not in answer.content.decode()
    assert ana.get(f"{USER}/reflections/a").status_code == 200


def test_sessions_and_searches_go_on(spoiled: Cell, ana: Caller) -> None:
    answer = ana.get(f"{USER}/sessions")
    assert answer.status_code == 200
    assert "s" in [one["sessionId"] for one in answer.json()["items"]]
    assert ana.get(f"{USER}/reflections?search=input").status_code == 200
    assert ana.get(f"{USER}/reflections?text=e").status_code == 200


def test_exports_name_it_in_both_forms(spoiled: Cell, ana: Caller) -> None:
    *found, last = [json.loads(one) for one in b"".join(ana.get(f"{USER}/export").streaming_content).splitlines()]
    assert [one["record"]["id"] for one in found] == list("abcefg")
    assert (last["records"], [one["key"] for one in last["unreadable"]]) == (6, [["ana", "d"]])
    whole = ana.get(f"{USER}/export", Accept="application/json").content
    body = json.loads(whole)
    assert [one["key"] for one in body["unreadable"]] == [["ana", "d"]]
    assert {one["id"] for one in body["te"]["sessions"]["s"]} == set("abcefg")
    assert SECRET not in whole.decode()


def test_a_user_is_told_nothing_of_others_rows(spoiled: Cell, db: None) -> None:
    bo = Caller(make_token(users=["bo"]))
    assert "unreadable" not in bo.get("/api/v1/users/bo/reflections").json()
    assert bo.get("/api/v1/users/bo/reflections/d").status_code == 404


@pytest.mark.parametrize("column", ["preferences", "constraints", "updated_at", "extra"])
def test_profiles_and_modes_name_theirs(column: str, ana: Caller) -> None:
    for mode in ("mars", "luna"):
        assert ana.post(f"{USER}/profiles", {"modeId": mode}).status_code == 201
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(f"UPDATE luna_profiles SET {column} = CAST(x'ff' AS TEXT) WHERE mode_id = 'mars'")
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    for name in ("profiles", "modes"):
        body = ana.get(f"{USER}/{name}").json()
        assert len(body["items"]) == 1
        assert [one["key"] for one in body["unreadable"]] == [["ana", "mars"]]
    refused(ana.get(f"{USER}/profiles/mars"), 409, "unreadable")


def test_items_of_a_file_are_named_too_and_to_their_user_alone(settings: Any, tmp_path: Any, ana: Caller) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = "file", tmp_path / ".orb-data"
    ana.put(f"{USER}/reflections/a", {"input": "i", "output": "o", "sessionId": "s"})
    path = tmp_path / ".orb-data/te/reflections.json"
    tree = json.loads(path.read_bytes())
    tree["sessions"]["s"].append({"id": "d", "input": 5})
    path.write_text(json.dumps(tree))
    body = ana.get(f"{USER}/reflections").json()
    assert ([one["id"] for one in body["items"]], len(body["unreadable"])) == (["a"], 1)
    refused(ana.get(f"{USER}/reflections/d"), 409, "unreadable")
    bo = Caller(make_token(users=["bo"]))
    assert "unreadable" not in bo.get("/api/v1/users/bo/reflections").json()
