"""Who guesses learns nothing: neither from what is answered, nor from what is done before, nor by other addresses."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from orbsite.models import api_tokens
from orbsite.models.api_tokens import Token
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

    digest_of = api_tokens.digest_of
    wrong = _wrong_tokens()
    monkeypatch.setattr(api_tokens, "digest_of", counted)
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


class SignIn:
    """Signs in from addresses, each time with no cookie."""

    def __call__(self, name: str, password: str, address: str) -> int:
        form = {"username": name, "password": password}
        return Client().post(reverse("admin:login"), form, REMOTE_ADDR=address).status_code


@pytest.fixture
def sign_in(django_user_model: Any) -> SignIn:
    django_user_model.objects.create_superuser("admin", password="right")
    return SignIn()


def _pass(minutes: float) -> None:
    """Let time go by for the guesses that were counted."""
    for attempt in AccessAttempt.objects.all():
        attempt.attempt_time -= timedelta(minutes=minutes)
        attempt.save()


@pytest.mark.parametrize(
    "address",
    ["2001:db8:1:2:{:x}::1", "2001:db8:1:2::{:x}", "2001:db8:1:2:ffff:{:x}:0:1"],
    ids=["high", "low", "middle"],
)
def test_the_addresses_of_one_ipv6_network_are_one_client(sign_in: SignIn, address: str) -> None:
    tried = [sign_in("admin", "wrong", address.format(number)) for number in range(1, 25)]
    assert tried == [200] * 9 + [429] * 15
    assert sign_in("admin", "right", address.format(99)) == 429
    assert sign_in("admin", "right", "2001:db8:1:3::1") == 302
    _pass(minutes=16)
    assert sign_in("admin", "right", address.format(99)) == 302


def test_an_ipv4_address_in_ipv6_is_that_address(sign_in: SignIn) -> None:
    tried = [sign_in("admin", "wrong", address) for address in ("::ffff:192.0.2.1", "192.0.2.1") for _ in range(5)]
    assert tried == [200] * 9 + [429]
    assert sign_in("admin", "right", "::ffff:192.0.2.2") == 302


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8:1:2::{}"])
def test_one_client_tries_so_many_names_and_no_more(sign_in: SignIn, address: str) -> None:
    tried = [sign_in(f"name-{number}", "wrong", address.format(number)) for number in range(30)]
    assert tried == [200] * 19 + [429] * 11
    assert sign_in("admin", "right", address.format(99)) == 429
    assert sign_in("admin", "right", "192.0.2.9") == 302
    _pass(minutes=16)
    assert sign_in("admin", "right", address.format(99)) == 302


def test_who_signs_in_does_not_clear_what_the_same_network_guessed_of_others(
    sign_in: SignIn, django_user_model: Any
) -> None:
    django_user_model.objects.create_superuser("mine", password="mine")
    statuses = []
    for number in range(24):
        statuses.append(sign_in(f"name-{number}", "wrong", "192.0.2.1"))
        sign_in("mine", "mine", "192.0.2.1")
    assert statuses.count(429) == 5


def _guess_from_everywhere(sign_in: SignIn, name: str, number: int = 40) -> list[int]:
    return [sign_in(name, "wrong", f"198.51.100.{one}") for one in range(number)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["admin", "nobody"])
def test_a_name_that_is_guessed_from_many_networks_makes_strangers_wait(sign_in: SignIn, name: str) -> None:
    assert _guess_from_everywhere(sign_in, name) == [200] * 29 + [429] * 11
    assert sign_in("other", "wrong", "198.51.100.200") == 200


def test_guesses_of_strangers_keep_nobody_out_for_good(sign_in: SignIn) -> None:
    assert sign_in("admin", "right", "192.0.2.7") == 302
    _guess_from_everywhere(sign_in, "admin")
    assert sign_in("admin", "right", "192.0.2.7") == 302, "who signed in from here before"
    assert sign_in("admin", "right", "192.0.2.8") == 429
    assert {sign_in("admin", "wrong", f"203.0.113.{one}") for one in range(50)} == {429}, "and none of these counts"
    _pass(minutes=0.3)
    assert sign_in("admin", "right", "192.0.2.8") == 302


@pytest.mark.slow
def test_each_guess_of_a_stranger_makes_the_next_wait_longer_up_to_a_limit(sign_in: SignIn) -> None:
    _guess_from_everywhere(sign_in, "admin", 30)
    waits = []
    for number in range(9):
        waited = 0.0
        while sign_in("admin", "wrong", f"203.0.113.{number}") == 429 and waited < 20:
            last = AccessAttempt.objects.filter(ip_address=f"203.0.113.{number}").exists()
            if last:
                break
            _pass(minutes=0.25)
            waited += 0.25
        waits.append(waited)
    assert waits[:5] == [0.25, 0.5, 1, 2, 4]
    assert max(waits) <= 15


def test_wrong_tokens_of_one_ipv6_network_are_those_of_one_client() -> None:
    def guess(address: str) -> int:
        caller = Caller("orb_00000000_wrong")
        return int(
            caller.client.get(ADDRESS, REMOTE_ADDR=address, headers={"Authorization": "Bearer orb_0_x"}).status_code
        )

    assert [guess(f"2001:db8:1:2::{number:x}") for number in range(25)] == [401] * 20 + [429] * 5
    assert guess("2001:db8:1:3::1") == 401
