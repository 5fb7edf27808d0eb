"""Who guesses learns nothing: neither from what is answered, nor from what is done before, nor by other addresses."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from orbsite import tokens
from orbsite.tokens import Token
from tests.api.conftest import Caller, make_token, refused

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/users/ana/profiles"
NOW = datetime.now(UTC)


def _wrong_tokens() -> dict[str, str]:
    """Return what lets nobody in, each for another reason."""
    good = make_token(users=["ana"])
    mark, prefix, secret = good.split("_", 2)
    found = {
        "unknown": f"{mark}_00000000_{secret}",
        "wrong secret": f"{mark}_{prefix}_{secret[::-1]}",
        "of another": f"{mark}_{prefix}_{make_token(users=['ana']).split('_', 2)[2]}",
        "revoked": make_token(users=["ana"], revoked_at=NOW),
        "expired": make_token(users=["ana"], expires_at=NOW - timedelta(seconds=1)),
        "revoked, for another": make_token(users=["bo"], revoked_at=NOW),
        "no prefix": f"{mark}_{secret}",
        "another mark": f"x{good}",
    }
    assert Caller(good).get(ADDRESS).status_code == 200
    return found


def _bytes(answer: Any) -> bytes:
    """Return all that goes over the line, but for what tells requests apart."""
    own = str(answer["X-Request-ID"]).encode()
    sent: bytes = f"{answer.status_code} {answer.reason_phrase}\r\n".encode() + answer.serialize()
    assert own in answer.content
    return sent.replace(own, b"...")


@pytest.mark.parametrize(("method", "path"), [("GET", ADDRESS), ("POST", ADDRESS), ("DELETE", "/api/v1/users/ana"),
                                              ("GET", "/metrics"), ("POST", "/api/v1/operations/validate")])  # fmt: skip
def test_every_wrong_token_gets_the_same_bytes(method: str, path: str) -> None:
    told = {why: _bytes(Caller(sent)(method, path, {})) for why, sent in _wrong_tokens().items()}
    assert {why for why, one in told.items() if one != told["unknown"]} == set()
    assert b"401 Unauthorized" in told["unknown"]


def test_every_wrong_token_asks_as_much_of_the_database_and_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes as long, as far as a test can tell; `benchmarks.refusals` has the times."""
    work = []

    def counted(secret: str) -> str:
        work.append(secret)
        return digest_of(secret)

    digest_of = tokens.digest_of
    wrong = _wrong_tokens()
    monkeypatch.setattr(tokens, "digest_of", counted)
    done = {}
    for why, sent in wrong.items():
        work.clear()
        with CaptureQueriesContext(connection) as queries:
            refused(Caller(sent).get(ADDRESS), 401)
        hashed = [one for one in work if one]  # the digest of nothing stands in for the one that is not there
        done[why] = ([one["sql"].split("WHERE")[0] for one in queries.captured_queries], bool(hashed))
    assert len(next(iter(done.values()))[0]) == 1
    del done["no prefix"]  # which has no secret either
    assert {str(one) for one in done.values()} == {str(done["unknown"])}


def test_a_token_in_the_address_or_a_cookie_lets_nobody_in() -> None:
    sent = make_token(users=["ana"])
    for name in ("token", "access_token", "authorization", "key"):
        refused(Caller().get(f"{ADDRESS}?{name}={sent}"), 401)
    caller = Caller()
    caller.client.cookies["Authorization"] = f"Bearer {sent}"
    refused(caller.get(ADDRESS), 401)
    refused(caller.get(ADDRESS, X_Authorization=f"Bearer {sent}", X_API_Key=sent), 401)
    assert Token.objects.get().last_used_at is None


def _proxies(settings: Any, number: int) -> None:
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": number}


def test_behind_a_proxy_guessers_are_told_apart_by_what_the_proxy_says_and_not_by_what_they_say(settings: Any) -> None:
    _proxies(settings, 1)

    def guess(forwarded: str) -> int:
        return int(Caller("orb_00000000_wrong").get(ADDRESS, X_Forwarded_For=forwarded).status_code)

    assert [guess(f"10.0.0.{n}, 192.0.2.1") for n in range(25)] == [401] * 20 + [429] * 5
    assert guess("192.0.2.1, 192.0.2.2") == 401


def test_who_guesses_passwords_behind_a_proxy_is_locked_out_whatever_he_says_of_himself(
    client: Client, settings: Any, django_user_model: Any
) -> None:
    _proxies(settings, 1)
    django_user_model.objects.create_superuser("admin", password="right")

    def sign_in(password: str, forwarded: str) -> int:
        form = {"username": "admin", "password": password}
        answer = client.post(reverse("admin:login"), form, headers={"X-Forwarded-For": forwarded})
        return answer.status_code

    tried = [sign_in("wrong", f"10.0.0.{n}, 192.0.2.1") for n in range(11)]
    assert tried == [200] * 9 + [429] * 2
    assert sign_in("right", "192.0.2.2, 192.0.2.1") == 429
    assert sign_in("right", "192.0.2.1, 192.0.2.2") == 302


def test_a_name_is_not_told_by_what_is_answered_nor_by_the_work_on_its_password(
    client: Client, django_user_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody, nobody, who may not sign in any more, and who is no staff, with a wrong password and the right one."""
    django_user_model.objects.create_superuser("admin", password="right")
    django_user_model.objects.create_superuser("gone", password="right", is_active=False)
    django_user_model.objects.create_user("user", password="right")
    hashed, encode = [], MD5PasswordHasher.encode

    def counted(hasher: Any, password: str, salt: str) -> Any:
        hashed.append(password)
        return encode(hasher, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    told, work = {}, {}
    for name, password in [("admin", "wrong"), ("nobody", "wrong"), ("gone", "wrong"), ("gone", "right"),
                           ("user", "wrong"), ("user", "right"), ("x" * 150, "wrong")]:  # fmt: skip
        hashed.clear()
        cache.clear()
        answer = Client().post(reverse("admin:login"), {"username": name, "password": password})
        text = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())
        told[name, password] = (answer.status_code, text.replace(f'value="{name}"', ""))
        work[name, password] = len(hashed)
    assert told["admin", "wrong"][0] == 200
    assert {who for who, one in told.items() if one != told["admin", "wrong"]} == set()
    assert set(work.values()) == {1}
