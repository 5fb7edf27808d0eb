"""`Idempotency-Key`: what is sent twice happens once. Many at once are in test_served."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from luna.domain import DOMAIN as LUNA
from orbsite.api import idempotency
from orbsite.storage.errors import SaveOutcomeUnknown
from orbsite.stores import open_store
from orbsite.tokens import KEPT, Answer, forget
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
    one, other = (idempotency.Attempt(moment, seed) for seed in ("a", "b"))
    assert one.new_id(0) == idempotency.Attempt(moment, "a").new_id(0)
    assert len({one.new_id(0), one.new_id(1), other.new_id(0)}) == 3
    free = idempotency.Attempt(moment)
    assert free.new_id(0) != free.new_id(0)
