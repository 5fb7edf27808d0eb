"""Log lines: one JSON object each, whatever is in them; and who guesses passwords waits."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from orbsite.runtime.json_logging import JSONLines, request_id
from tests.api.conftest import Caller

HOSTILE = 'a\r\nb\x1b[31m\u202e\u2028\x00\ud800\x85{"level": "ERROR"}'


def _line(message: str = "x", *arguments: Any, **extra: Any) -> str:
    record = logging.getLogger("tests").makeRecord("tests", logging.INFO, "f", 1, message, arguments, None, extra=extra)
    return JSONLines().format(record)


def test_what_is_hostile_stays_in_its_line() -> None:
    line = _line("told %s", HOSTILE, route=HOSTILE)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert not any(ord(character) < 32 for character in line)
    assert json.loads(line)["message"] == f"told {HOSTILE}"
    assert json.loads(line)["route"] == HOSTILE


def test_a_line_names_its_request_and_its_time() -> None:
    reset = request_id.set("r-1")
    try:
        told = json.loads(_line(status=200))
    finally:
        request_id.reset(reset)
    assert (told["request"], told["status"], told["level"], told["logger"]) == ("r-1", 200, "INFO", "tests")
    assert told["time"].endswith("+00:00")
    assert "request" not in json.loads(_line())


def test_an_error_is_told_by_its_type_and_its_place() -> None:
    try:
        int("canary")
    except ValueError:
        record = logging.getLogger("tests").makeRecord("tests", logging.ERROR, "f", 1, "x", (), sys.exc_info())
    line = JSONLines().format(record)
    assert "canary" not in line
    assert json.loads(line)["error"] == "ValueError"
    assert json.loads(line)["at"][0].endswith("test_an_error_is_told_by_its_type_and_its_place")


def test_what_is_no_plain_value_is_left_out() -> None:
    assert "thing" not in json.loads(_line(thing=object(), request_object={"a": 1}))


@pytest.mark.django_db
def test_a_request_is_told_by_its_route_and_never_by_its_path(ana: Caller, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "orbsite.requests")
    ana.get("/api/v1/users/ana/profiles/secret?limit=secret")
    [record] = [one for one in caplog.records if one.name == "orbsite.requests"]
    told = json.loads(JSONLines().format(record))
    assert told["route"] == "api/v1/users/<id:user>/profiles/<id:mode>"
    assert (told["method"], told["status"]) == ("GET", 400)
    assert "secret" not in JSONLines().format(record)


@pytest.mark.django_db
def test_what_django_says_of_a_request_names_no_path_either(
    ana: Caller, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr("orbsite.api.views.open_store", fail)
    ana.get("/api/v1/users/ana/profiles/secret")
    Client(enforce_csrf_checks=True).post("/admin/secret/", {})
    said = [json.loads(JSONLines().format(one)) for one in caplog.records if one.name.startswith("django.")]
    assert {"django.request", "django.security.csrf"} <= {one["logger"] for one in said}
    assert "Internal Server Error: …" in {one["message"] for one in said}
    assert "secret" not in json.dumps(said)


@pytest.mark.django_db
def test_who_guesses_a_password_is_locked_out_by_name_and_address(
    client: Client, django_user_model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    django_user_model.objects.create_superuser("admin", password="right")
    page = reverse("admin:login")

    def sign_in(name: str, password: str, address: str = "192.0.2.1", **headers: str) -> int:
        form = {"username": name, "password": password}
        return client.post(page, form, REMOTE_ADDR=address, headers=headers).status_code

    tried = [sign_in("admin", "canary", **{"X-Forwarded-For": f"10.0.0.{n}"}) for n in range(10)]
    assert tried == [200] * 9 + [429]
    assert sign_in("admin", "right") == 429
    assert sign_in("nobody", "wrong") == 200
    assert sign_in("admin", "right", "192.0.2.2") == 302
    assert "canary" not in caplog.text


@pytest.mark.django_db
def test_a_name_that_is_there_and_one_that_is_not_are_answered_alike(client: Client, django_user_model: Any) -> None:
    django_user_model.objects.create_superuser("admin", password="right")
    page = reverse("admin:login")
    answers = [client.post(page, {"username": name, "password": "wrong"}) for name in ("admin", "other")]
    assert len({one.status_code for one in answers}) == 1
    texts = [one.content.decode().replace('value="admin"', "").replace('value="other"', "") for one in answers]
    import re

    assert len({re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text) for text in texts}) == 1


@pytest.mark.parametrize(
    ("message", "arguments", "told"),
    [
        ("Error handling request %s %s", ("GET", "/api/v1/users/canary"), "Error handling request … …"),
        ("Invalid request from ip=2001:db8::1: Invalid HTTP Header: 'Bearer canary'", (),
         "Invalid request from ip=2001:db8::1: …"),
        ("Something new: canary", (), "Something new …"),
        ("Exception during worker exit:\n%s", ("Traceback: canary",), "Exception during worker exit:\n…"),
        ("Worker (pid:%s) exited with code %s.", (7, 3), "Worker (pid:7) exited with code 3."),
        ("Listening at: %s (%s)", ("http://127.0.0.1:8000", 7), "Listening at: http://127.0.0.1:8000 (7)"),
    ],
)  # fmt: skip
def test_gunicorn_is_heard_about_itself_and_not_about_requests(
    message: str, arguments: tuple[Any, ...], told: str
) -> None:
    record = logging.getLogger("gunicorn.error").makeRecord(
        "gunicorn.error", logging.ERROR, "f", 1, message, arguments, None
    )
    assert json.loads(JSONLines().format(record))["message"] == told


@pytest.mark.parametrize("problem", [ValueError("canary"), OSError(5, "Input/output error", "canary")])
def test_an_error_among_the_arguments_of_a_message_is_told_by_its_type(problem: Exception) -> None:
    line = _line("it failed: %s, %r", problem, problem)
    assert "canary" not in line
    assert type(problem).__name__ in line


def test_a_host_that_is_refused_is_not_repeated() -> None:
    record = logging.getLogger("x").makeRecord(
        "django.security.DisallowedHost", logging.ERROR, "f", 1, "Invalid HTTP_HOST header: 'canary'.", (), None
    )
    assert json.loads(JSONLines().format(record))["message"] == "Invalid HTTP_HOST header …"
