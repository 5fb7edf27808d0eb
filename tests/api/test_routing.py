"""Every request about a user names that user in every statement on rows of users. A new route or parameter needs a try."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from luna import api as luna_api
from orbsite.api import views
from orbsite.api.views import OrbView
from orbsite.operations import search_index
from orbsite.storage.clock import utc_now
from tests.api.conftest import Caller, make_token
from tests.api.test_matrix import METHODS, PLACES, PROFILE, REFLECTION, ROWS
from tests.contract.harness import SECRETS
from tests.support import crossing
from tests.support.routing import StatementLog, watching

pytestmark = pytest.mark.django_db(databases="__all__")
ELSE = {
    "": "leads to the console",
    "admin/": "the console, for the people who run the service",
    "livez": "reads nothing",
    "readyz": "asks the database whether it is there",
    "metrics": "figures of the process, for the people who run the service",
    "api/schema": "the description of the API",
    "api/docs": "the description of the API",
}
"""The addresses that are about no user, and what they are."""
PARAMETERS = {
    "limit": ["1"],
    "session": ["s"],
    "tag": ["t"],
    "from": ["2020-01-01T00:00:00Z"],
    "to": ["2030-01-01T00:00:00Z"],
    "text": ["canary"],
    "search": ["canary", '"canary of" ana', "canary -absent", "can"],
}
"""What each query parameter is tried with; a cursor is tried by reading on."""
_CONVERTED = re.compile(r"<\w+:(\w+)>")


def _patterns(of: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield all addresses, those of included modules too, but for what is listed."""
    for one in of.url_patterns:
        path = f"{before}{one.pattern}"
        if isinstance(one, URLPattern):
            yield path, one
        elif path not in ELSE or not path:
            yield from _patterns(one, path)


def _routes() -> dict[tuple[str, str], type[OrbView]]:
    """Return the view of each method and address of the API, from the URLconf."""
    found = {}
    for path, pattern in _patterns(get_resolver("orbsite.urls")):
        view = getattr(pattern.callback, "view_class", None)
        if path in ELSE:
            continue
        assert isinstance(view, type), f"{path} is neither listed nor a resource"
        assert issubclass(view, OrbView), f"{path} is neither listed nor a resource"
        address = "/" + _CONVERTED.sub(r"{\1}", path)
        found.update({(method, address): view for method in METHODS if hasattr(view, method.lower())})
    return found


ROUTES = _routes()
OF_USERS = sorted(route for route in ROUTES if "{user}" in route[1])


def test_every_route_has_an_example() -> None:
    assert {route for route in ROWS if route[1] != "/metrics"} == set(ROUTES)
    assert {name for view in ROUTES.values() for name in view.parameters} - {"cursor"} == set(PARAMETERS)


def test_what_is_listed_is_a_route() -> None:
    assert set(crossing.ROUTES) <= set(ROUTES)


@pytest.fixture(params=["default", "postgresql"])
def caller(request: pytest.FixtureRequest, settings: Any, tmp_path: Any) -> Caller:
    """The bearer of a token for ana, who has something at every address, as bo has."""
    if request.param == "postgresql":
        request.getfixturevalue("on_postgresql")
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = "sql", tmp_path / ".orb-data"
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    settings.ORB_KEYS = SECRETS if request.node.callspec.params.get("is_sealed") else ""
    views._opened.clear()
    caller = Caller(make_token("admin", users=["ana", "bo"]))
    for user in ("ana", "bo"):
        start = f"/api/v1/users/{user}"
        made = [
            caller.put(f"{start}/profiles/mars", PROFILE),
            caller.put(f"{start}/active-mode", {"modeId": "mars"}),
            caller.post(f"{start}/reflections", REFLECTION | {"tags": ["t"]}),
            caller.post(f"{start}/reflections", REFLECTION | {"id": "r-2"}),
        ]
        assert [one.status_code for one in made] == [201, 200, 201, 201]
    return caller


def _forms(method: str, path: str) -> Iterator[dict[str, Any]]:
    """Yield the ways in which a request is sent: its query, its headers and its body."""
    row, view = ROWS[method, path], ROUTES[method, path]
    yield {"body": row.body}
    if method == "GET":
        yield {"headers": {"Accept": "application/json"}}
        yield from ({"query": f"{name}={value}"} for name in view.parameters for value in PARAMETERS.get(name, ()))
        if {"session", "search"} <= set(view.parameters):
            yield {"query": "session=s&tag=t&search=canary&from=2020-01-01T00:00:00Z&limit=1"}
        return
    yield {"body": row.body, "headers": {"If_Match": "*"}}
    yield {"body": row.body, "headers": {"If_None_Match": "*"}}
    yield {"body": row.body, "headers": {"If_Match": '"other"'}}
    if method == "POST":
        yield from [{"body": row.body, "headers": {"Idempotency_Key": "one"}}] * 2
        one = row.body[0] if isinstance(row.body, list) else row.body
        yield from ({"body": {**one, "id": "r-9"}} if "input" in one else {"body": one} for _ in range(2))
        if isinstance(row.body, list):
            yield {"body": [{**one, "id": f"n-{number}"} for number in range(3)]}


def _asked(caller: Caller, method: str, path: str, form: dict[str, Any]) -> int:
    address = path.format(**PLACES)
    query = f"?{form['query']}" if "query" in form else ""
    answer = caller(
        method, f"{address}{query}", form.get("body"), kind=ROWS[method, path].kind, **form.get("headers", {})
    )
    content = b"".join(answer) if answer.streaming else answer.content
    following = json.loads(content).get("next") if content and content.startswith(b'{"items"') else None
    if following:
        assert caller.get(following).status_code == 200
    return int(answer.status_code)


def _wrong(watched: StatementLog, route: tuple[str, str]) -> list[str]:
    """Return what a request must not do."""
    listed = crossing.LEDGER if route in crossing.ROUTES else set()
    found = [
        str(one)
        for one in watched.unrouted
        if not set(one.unrouted) <= listed and one.statement not in crossing.STATEMENTS
    ]
    others = {user for one in watched.reached for user in one.users} - {"ana", ""}
    return found + [f"the rows of {user}" for user in others]


@pytest.mark.parametrize("is_sealed", [False, True], ids=["plain", "sealed"])
@pytest.mark.parametrize(("method", "path"), OF_USERS, ids=[f"{method} {path}" for method, path in OF_USERS])
def test_a_request_about_a_user_names_the_user(method: str, path: str, is_sealed: bool, caller: Caller) -> None:
    with watching("default") as watched:
        answers = [_asked(caller, method, path, form) for form in _forms(method, path)]
    assert not _wrong(watched, (method, path))
    assert ROWS[method, path].status in answers
    assert watched.reached, "no statement was seen"


@pytest.mark.parametrize("is_indexed", [False, True], ids=["by the rows", "by the index"])
def test_a_search_reads_no_words_of_others(is_indexed: bool, caller: Caller) -> None:
    if is_indexed:
        search_index.index(search_index.registered(), now=utc_now)
    route = ("GET", "/api/v1/users/{user}/reflections")
    with watching("default") as watched:
        for words in PARAMETERS["search"]:
            assert _asked(caller, *route, {"query": f"search={words}"}) == 200
    assert not _wrong(watched, route)
    assert "orb_words" in watched.tables


def test_a_route_that_forgets_the_user_is_found(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def by_mode_alone(store: Any, kind: Any, key: Any, user_id: str) -> Any:
        found = store.find(kind, {"mode_id": key[-1]})
        return next(one for one in found if one.user_id == user_id)

    monkeypatch.setattr(luna_api, "fetched", by_mode_alone)
    route = ("GET", "/api/v1/users/{user}/profiles/{mode}")
    with watching("default") as watched:
        assert _asked(caller, *route, {}) == 200
    assert _wrong(watched, route)
