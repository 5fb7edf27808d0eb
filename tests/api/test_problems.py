"""Errors: one form for all of them, and nothing in it that callers need not know."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.db import OperationalError
from django.http import Http404
from django.test import Client

from luna.domain import DOMAIN as LUNA
from orbsite.api import views
from orbsite.api.problems import MOST_ERRORS, logger, problem_of
from orbsite.storage import errors
from orbsite.storage.findings import error
from orbsite.stores import open_store
from tests.api.conftest import Caller, refused

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/users/ana/profiles/mars"
BODY = {"preferences": [], "constraints": []}


@pytest.mark.parametrize(
    ("problem", "status", "name"),
    [
        (errors.InvalidRecord([error("$.a", "is wrong")]), 400, "invalid"),
        (errors.OwnerConflict("secret"), 409, "owner-conflict"),
        (errors.Conflict("secret"), 409, "conflict"),
        (errors.RecordUnreadable("mend it"), 409, "unreadable"),
        (errors.StoreUnavailable("secret"), 503, "unavailable"),
        (errors.LockTimeout("secret"), 503, "unavailable"),
        (errors.DocumentCorrupt("secret"), 503, "store-damaged"),
        (errors.DocumentRefused("secret"), 503, "store-damaged"),
        (errors.SaveFailed("secret"), 503, "unavailable"),
        (errors.SaveOutcomeUnknown("secret"), 503, "outcome-unknown"),
        (errors.TooMuch("too much"), 409, "conflict"),
        (errors.ClockJumped("a jump"), 409, "conflict"),
        (errors.InvalidPolicy("no rule"), 400, "invalid"),
        (errors.OrbError("there is no such job"), 400, "invalid"),
        (OperationalError("secret"), 503, "unavailable"),
        (Http404("secret"), 404, "not-found"),
    ],
)
def test_each_error_has_its_status(
    ana: Caller, monkeypatch: pytest.MonkeyPatch, problem: Exception, status: int, name: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise problem

    monkeypatch.setattr(views, "open_store", fail)
    answer = ana.get(ADDRESS)
    told = refused(answer, status, name)
    assert "secret" not in answer.content.decode()
    assert ("Retry-After" in answer) is (status == 503)
    if isinstance(problem, errors.InvalidRecord):
        assert told["errors"] == [{"path": "$.a", "message": "is wrong"}]


@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "k"}])
def test_what_an_operator_has_to_know_is_logged_once(
    ana: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    def fail(*_: Any) -> Any:
        raise errors.DocumentCorrupt("line 1")

    monkeypatch.setattr(views, "open_store", fail)
    refused(ana.post("/api/v1/users/ana/profiles", {"modeId": "mars"}, **headers), 503, "store-damaged")
    told = [one.getMessage() for one in caplog.records if one.name == logger.name]
    assert told == ["store-damaged: DocumentCorrupt (line 1)"]


def _tree(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(_tree(child) for child in kind.__subclasses__()))


def test_every_error_of_ours_has_an_answer() -> None:
    for kind in _tree(errors.OrbError):
        arguments: dict[type[Exception], tuple[Any, ...]] = {
            errors.InvalidRecord: ([],),
            errors.NewerVersion: (3, 2, "$"),
        }
        made = kind(*arguments.get(kind, ("x",)))
        told = problem_of(made)
        assert told is not None, kind
        assert told.kind.status < 500 or told.kind.status == 503


def test_what_nobody_foresaw_is_a_500_without_a_word_about_it(
    ana: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(views, "open_store", fail)
    answer = ana.get(ADDRESS)
    refused(answer, 500, "internal")
    assert "secret" not in answer.content.decode()
    from orbsite.runtime.json_logging import JSONLines

    [record] = [one for one in caplog.records if one.levelno >= logging.ERROR]
    line = JSONLines().format(record)
    assert "RuntimeError" in line
    assert "secret" not in line


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/nowhere", "/api/v1/users", "/api/v1/users//profiles",
                                  "/api/v1/users/~/profiles", "/api/v1/users/~YQ/profiles", "/api/v1/users/~!/profiles",
                                  "/api/v1/users/ana/profiles/", "/api/v1/users/a%2Fb/profiles"])  # fmt: skip
def test_an_address_that_leads_nowhere_is_a_problem_too(ana: Caller, path: str) -> None:
    refused(ana.get(path), 404, "not-found")


def test_the_admin_keeps_its_pages(client: Client) -> None:
    assert client.get("/admin/nowhere/")["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(("method", "path"), [("POST", ADDRESS), ("OPTIONS", ADDRESS), ("DELETE", "/api/v1/users/ana/modes"),
                                              ("TRACE", ADDRESS), ("PROPFIND", ADDRESS), ("POST", "/metrics")])  # fmt: skip
def test_methods_that_are_not_there_are_not_allowed_whoever_asks(
    ana: Caller, nobody: Caller, method: str, path: str
) -> None:
    for caller in (ana, nobody):
        answer = caller(method, path, {} if method == "POST" else None)
        refused(answer, 405, "method-not-allowed")
        assert "GET" in answer["Allow"]
        assert "OPTIONS" not in answer["Allow"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/schema", "/nowhere", "/admin/login/", "/"])
def test_trace_is_not_allowed_anywhere(nobody: Caller, path: str) -> None:
    assert nobody("TRACE", path).status_code == 405


def test_what_cannot_be_answered_as_asked_is_told(ana: Caller) -> None:
    ana.put(ADDRESS, BODY)
    refused(ana.get(ADDRESS, Accept="application/xml"), 406, "not-acceptable")
    for accept in ("*/*", "application/json", "text/html, application/*;q=0.5"):
        assert ana.get(ADDRESS, Accept=accept).status_code == 200


def test_head_is_a_get_without_a_body(ana: Caller) -> None:
    ana.put(ADDRESS, BODY)
    head = ana("HEAD", ADDRESS)
    assert (head.status_code, head.content, head["ETag"]) == (200, b"", ana.get(ADDRESS)["ETag"])


def test_a_list_of_errors_has_an_end() -> None:
    told = problem_of(errors.InvalidRecord([error(f"$[{n}]", "x") for n in range(MOST_ERRORS + 1)]))
    assert told is not None
    assert len(told.errors) == MOST_ERRORS


def test_a_change_by_who_came_between_is_412_where_a_condition_was_sent_and_409_elsewhere(
    ana: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: Any, **__: Any) -> None:
        raise errors.Conflict("changed")

    ana.put(ADDRESS, BODY)
    monkeypatch.setattr(open_store(LUNA), "put", lose)
    refused(ana.put(ADDRESS, BODY, If_Match="*"), 412, "precondition-failed")
    refused(ana.put(ADDRESS, BODY), 409, "conflict")
    refused(ana.patch(ADDRESS, {}, If_Match="*"), 412, "precondition-failed")
    refused(ana.patch(ADDRESS, {}), 409, "conflict")
