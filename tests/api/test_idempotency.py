"""`Idempotency-Key`: what is sent twice happens once. Many at once are in test_served."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from django.db import OperationalError

from luna.domain import DOMAIN as LUNA
from orbsite.api import idempotency
from orbsite.models.idempotency import KEPT, Answer, forget
from orbsite.storage.errors import LockTimeout, SaveOutcomeUnknown, StoreUnavailable
from orbsite.storage.sql.retry import TransactionRetry
from orbsite.stores import open_store
from tests.api.conftest import Caller, make_token, refused

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/users/ana/profiles"
BODY = {"modeId": "mars"}


@pytest.mark.usefixtures("mode")
def test_the_same_request_is_answered_the_same(ana: Caller) -> None:
    first = ana.post(ADDRESS, BODY, Idempotency_Key="k")
    assert "Idempotent-Replayed" not in first
    second = ana.post(ADDRESS, {"modeId": "mars"}, Idempotency_Key="k")
    assert (second.status_code, second.content) == (201, first.content)
    assert [second[name] for name in ("ETag", "Location", "Content-Type")] == [
        first[name] for name in ("ETag", "Location", "Content-Type")
    ]
    assert second["Idempotent-Replayed"] == "true"
    ana.delete(f"{ADDRESS}/mars")
    assert ana.post(ADDRESS, BODY, Idempotency_Key="k").status_code == 201
    refused(ana.get(f"{ADDRESS}/mars"), 404)


def test_the_answer_is_kept_sealed_and_given_again(ana: Caller, settings: Any) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_KEYS = "sql", f"k:{base64.b64encode(b'k' * 32).decode()}"
    body = {"modeId": "mars", "preferences": ["canary"], "constraints": []}
    first = ana.post(ADDRESS, body, Idempotency_Key="k")
    kept = Answer.objects.get()
    assert b"canary" in first.content
    assert b"canary" not in bytes(kept.body)
    assert ana.post(ADDRESS, body, Idempotency_Key="k").content == first.content
    Answer.objects.update(key="other")
    told = refused(ana.post(ADDRESS, body, Idempotency_Key="other"), 409)
    assert "no longer available" in told["detail"]


def test_another_body_or_address_under_the_same_key_is_told(ana: Caller) -> None:
    ana.post(ADDRESS, BODY, Idempotency_Key="k")
    refused(ana.post(ADDRESS, {"modeId": "venus"}, Idempotency_Key="k"), 422, "key-reused")
    assert ana.post(ADDRESS, {"modeId": "venus"}, Idempotency_Key="k2").status_code == 201


def test_keys_belong_to_a_token(ana: Caller) -> None:
    other = Caller(make_token(users=["ana"]))
    ana.post(ADDRESS, BODY, Idempotency_Key="k")
    assert other.post(ADDRESS, {"modeId": "venus"}, Idempotency_Key="k").status_code == 201


def test_a_refusal_is_not_kept(ana: Caller) -> None:
    refused(ana.post(ADDRESS, {"modeId": 5}, Idempotency_Key="k"), 400)
    assert ana.post(ADDRESS, BODY, Idempotency_Key="k").status_code == 201
    ana.put(f"{ADDRESS}/venus", {"preferences": [], "constraints": []})
    refused(ana.post(ADDRESS, {"modeId": "venus"}, Idempotency_Key="k3"), 409)
    ana.delete(f"{ADDRESS}/venus")
    assert ana.post(ADDRESS, {"modeId": "venus"}, Idempotency_Key="k3").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é"])
def test_a_key_that_is_none_is_refused(ana: Caller, key: str) -> None:
    told = refused(ana.post(ADDRESS, BODY, Idempotency_Key=key), 400)
    assert told["errors"][0]["path"] == "Idempotency-Key"


def test_a_creation_that_nobody_confirmed_is_done_again_and_comes_to_the_same(
    ana: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(LUNA)
    add = store.add

    def lose(record: Any) -> Any:
        add(record)
        raise SaveOutcomeUnknown("the answer was lost")

    monkeypatch.setattr(store, "add", lose)
    refused(ana.post(ADDRESS, BODY, Idempotency_Key="k"), 503, "outcome-unknown")
    monkeypatch.undo()
    again = ana.post(ADDRESS, BODY, Idempotency_Key="k")
    assert again.status_code == 201
    assert ana.get(f"{ADDRESS}/mars").json() == again.json()
    assert len(ana.get(ADDRESS).json()["items"]) == 1


@pytest.fixture(
    params=[LockTimeout("x"), StoreUnavailable("x"), OperationalError("x")], ids=lambda one: type(one).__name__
)
def nothing_noted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each claim is made, and whatever is to be noted of the answer fails."""
    calls = count()

    def run(_: TransactionRetry, act: Callable[[], Any]) -> Any:
        if next(calls):
            raise request.param
        return act()

    monkeypatch.setattr(TransactionRetry, "run", run)


@pytest.mark.usefixtures("nothing_noted")
def test_what_was_done_is_answered_also_where_that_cannot_be_noted(
    ana: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = ana.post(ADDRESS, BODY, Idempotency_Key="k")
    assert first.status_code == 201
    assert [one.args for one in caplog.records if one.name == idempotency.logger.name] != []
    monkeypatch.undo()
    Answer.objects.update(claimed_at=datetime.now(UTC) - idempotency.LONGEST - timedelta(seconds=1))
    again = ana.post(ADDRESS, BODY, Idempotency_Key="k")
    assert (again.status_code, again.content) == (201, first.content)


@pytest.mark.usefixtures("nothing_noted")
def test_a_refusal_is_told_also_where_that_cannot_be_noted(ana: Caller) -> None:
    refused(ana.post(ADDRESS, {"modeId": 5}, Idempotency_Key="k"), 400)


@pytest.mark.usefixtures("nothing_noted")
def test_an_unknown_outcome_is_told_also_where_that_cannot_be_noted(
    ana: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(_: Any) -> Any:
        raise SaveOutcomeUnknown("the answer was lost")

    monkeypatch.setattr(open_store(LUNA), "add", lose)
    refused(ana.post(ADDRESS, BODY, Idempotency_Key="k"), 503, "outcome-unknown")


def test_who_waits_or_is_answered_again_only_reads(ana: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    ana.post(ADDRESS, BODY, Idempotency_Key="k")

    def refuse(*_: Any) -> Any:
        raise AssertionError("a lock was taken")

    monkeypatch.setattr(TransactionRetry, "run", refuse)
    monkeypatch.setattr(idempotency, "PATIENCE", 0.1)
    assert ana.post(ADDRESS, BODY, Idempotency_Key="k")["Idempotent-Replayed"] == "true"
    refused(ana.post(ADDRESS, {"modeId": "venus"}, Idempotency_Key="k"), 422)
    Answer.objects.update(status=None, claimed_at=datetime.now(UTC))
    refused(ana.post(ADDRESS, BODY, Idempotency_Key="k"), 409)


def test_a_worker_that_died_is_waited_for_and_then_replaced(ana: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    ana.post(ADDRESS, BODY, Idempotency_Key="k")
    ana.delete(f"{ADDRESS}/mars")
    Answer.objects.update(status=None, claimed_at=datetime.now(UTC))
    monkeypatch.setattr(idempotency, "PATIENCE", 0.1)
    answer = ana.post(ADDRESS, BODY, Idempotency_Key="k")
    refused(answer, 409)
    assert answer["Retry-After"]
    Answer.objects.update(claimed_at=datetime.now(UTC) - idempotency.LONGEST - timedelta(seconds=1))
    assert ana.post(ADDRESS, BODY, Idempotency_Key="k").status_code == 201
    assert ana.get(f"{ADDRESS}/mars").status_code == 200


def test_an_answer_is_kept_for_a_day(ana: Caller) -> None:
    ana.post(ADDRESS, BODY, Idempotency_Key="k")
    began = Answer.objects.get().began_at
    assert forget(began + KEPT) == 0
    assert forget(began + KEPT + timedelta(seconds=1)) == 1
    ana.post(ADDRESS, {"modeId": "venus"}, Idempotency_Key="k")
    Answer.objects.update(began_at=began - KEPT - timedelta(seconds=1))
    assert ana.post(ADDRESS, {"modeId": "moon"}, Idempotency_Key="k").status_code == 201


def test_ids_and_the_moment_are_the_same_in_each_attempt() -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    one, other = (idempotency.IdempotentRequest(moment, seed) for seed in ("a", "b"))
    assert one.new_id(0) == idempotency.IdempotentRequest(moment, "a").new_id(0)
    assert len({one.new_id(0), one.new_id(1), other.new_id(0)}) == 3
    free = idempotency.IdempotentRequest(moment)
    assert free.new_id(0) != free.new_id(0)


LARGE = "é" * idempotency.SMALL
REFLECTIONS = "/api/v1/users/ana/reflections"
LARGE_BODIES = {
    "a profile": (ADDRESS, {"modeId": "mars", "preferences": [LARGE], "later": {"10": 1.0, "2": 1e16}}),
    "a reflection": (REFLECTIONS, {"input": LARGE, "output": "o"}),
    "a list of reflections": (REFLECTIONS, [{"input": LARGE, "output": str(n), "notes": None} for n in range(3)]),
}


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("kind", LARGE_BODIES)
def test_a_large_answer_is_not_kept_and_is_the_same_whatever_became_of_the_record(ana: Caller, kind: str) -> None:
    address, body = LARGE_BODIES[kind]
    first = ana.post(address, body, Idempotency_Key="k")
    assert first.status_code == 201
    kept = Answer.objects.get()
    assert bytes(kept.body) == b""
    assert len(json.dumps(kept.headers)) < 1000
    made = first.json() if isinstance(first.json(), list) else [first.json()]
    places = [f"{address}/{one.get('modeId', one.get('id'))}" for one in made]

    def replayed() -> None:
        again = ana.post(address, body, Idempotency_Key="k")
        assert (again.status_code, again.content) == (201, first.content)
        for name in ("ETag", "Location", "Content-Type"):
            assert again.get(name) == first.get(name)
        assert again["Idempotent-Replayed"] == "true"

    replayed()
    for place in places:
        assert ana.patch(place, {"later": "changed"}).status_code == 200
    replayed()
    assert all(ana.get(place).json()["later"] == "changed" for place in places)
    for place in places:
        assert ana.delete(place).status_code == 204
    replayed()
    for place in places:
        refused(ana.get(place), 404)
    refused(ana.post(address, {"modeId": "other"}, Idempotency_Key="k"), 422, "key-reused")


def test_a_large_answer_that_cannot_be_made_again_says_that_it_was_done(ana: Caller) -> None:
    address, body = LARGE_BODIES["a reflection"]
    first = ana.post(address, body, Idempotency_Key="k")
    Answer.objects.update(body_digest="0" * 64)
    told = ana.post(address, body, Idempotency_Key="k")
    assert "The request was executed before" in refused(told, 409)["detail"]
    assert told["Location"] == first["Location"]


def test_a_small_answer_is_kept_as_it_is(ana: Caller) -> None:
    answer = ana.post(ADDRESS, BODY, Idempotency_Key="k")
    kept = Answer.objects.get()
    assert (bytes(kept.body), kept.body_digest) == (answer.content, "")
