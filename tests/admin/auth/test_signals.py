"""Who signs in, out, or cannot: noted, locked out by name and address, and told nothing of who there is."""

from __future__ import annotations

from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import reverse

from orbsite.models.audit_log import Event
from orbsite.runtime.client_ip import as_ip

pytestmark = pytest.mark.django_db(databases=["default", "postgresql"])


@pytest.fixture(autouse=True)
def _people() -> None:
    User.objects.create_user("anna", password="open sesame", is_staff=True)
    User.objects.create_user("plain", password="open sesame")
    User.objects.create_user("gone", password="open sesame", is_staff=True, is_active=False)


def _sign_in(client: Client, name: str, password: str = "wrong", **headers: str) -> Any:
    return client.post(reverse("admin:login"), {"username": name, "password": password}, **headers)  # type: ignore[arg-type]


def _noted() -> list[tuple[str, str, str]]:
    return list(Event.objects.order_by("pk").values_list("act", "actor", "address"))


def test_signing_in_and_out_is_noted_with_the_address(client: Client) -> None:
    _sign_in(client, "anna", "open sesame")
    client.post(reverse("admin:logout"))
    assert _noted() == [("sign in", "anna", "127.0.0.1"), ("sign out", "anna", "127.0.0.1")]


def test_a_failure_is_noted_by_name_where_there_is_such_a_name(client: Client) -> None:
    _sign_in(client, "anna")
    _sign_in(client, "my password by mistake")
    assert _noted() == [("sign in failed", "anna", "127.0.0.1"), ("sign in failed", "", "127.0.0.1")]
    assert "mistake" not in str(list(Event.objects.values()))


@pytest.mark.parametrize("name", ["anna", "nobody at all", "gone", "plain", "", "\x00", "ANNA", "anna\n"])
def test_a_failure_tells_nothing_of_who_there_is(client: Client, name: str) -> None:
    password = "open sesame" if name in ("gone", "plain") else "wrong"
    known = _sign_in(client, "anna")
    other = _sign_in(Client(), name, password)
    assert other.status_code == known.status_code == 200
    if name not in ("", "\x00"):  # which no form takes
        assert _told(other) == _told(known)


def _told(answer: Any) -> list[str]:
    return [str(error) for errors in answer.context["form"].errors.values() for error in errors]


@pytest.mark.parametrize("name", ["anna", "nobody at all", "gone"])
def test_a_password_is_hashed_whoever_it_is_of(client: Client, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode
    monkeypatch.setattr(
        MD5PasswordHasher,
        "encode",
        lambda self, password, salt: hashed.append(password) or encode(self, password, salt),
    )
    _sign_in(client, name)
    assert hashed == ["wrong"]


@pytest.mark.parametrize("name", ["anna", "nobody at all"])
def test_ten_failures_lock_a_name_at_an_address_whatever_the_request_says_of_it(name: str) -> None:
    for number in range(9):
        answer = _sign_in(Client(), name, HTTP_X_FORWARDED_FOR=f"198.51.100.{number}")
        assert answer.status_code == 200
    assert _sign_in(Client(), name, HTTP_X_FORWARDED_FOR="198.51.100.77").status_code == 429
    assert _sign_in(Client(), name, "open sesame", HTTP_X_FORWARDED_FOR="203.0.113.9").status_code == 429
    assert _sign_in(Client(), "plain", "open sesame").status_code == 200, "other names may try"
    before = Event.objects.count()
    _sign_in(Client(), name)
    assert Event.objects.count() == before, "who is locked out fills no table"


def test_behind_a_proxy_the_address_is_the_one_that_the_proxy_saw(settings: Any) -> None:
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    for number in range(10):
        answer = _sign_in(Client(), "anna", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}, 192.0.2.1")
    assert answer.status_code == 429
    assert _sign_in(Client(), "anna", "open sesame", HTTP_X_FORWARDED_FOR="192.0.2.2").status_code == 302
    assert {address for _, _, address in _noted()} == {"192.0.2.1", "192.0.2.2"}


@pytest.mark.parametrize("address", ["", "unix:", "192.0.2.1:4711"])
def test_an_address_that_is_none_stops_nobody(address: str, postgresql_alias: str) -> None:
    assert as_ip(RequestFactory(REMOTE_ADDR=address).get("/")) is None
    assert as_ip(RequestFactory(REMOTE_ADDR="2001:DB8::1").get("/")) == "2001:db8::1"
    client = Client(REMOTE_ADDR=address)
    assert _sign_in(client, "anna").status_code == 200
    assert _sign_in(client, "anna", "open sesame").status_code == 302
    AccessAttempt(
        ip_address=as_ip(RequestFactory(REMOTE_ADDR=address).get("/")), username="anna", failures_since_start=0
    ).save(using=postgresql_alias)


def test_cookies_of_sessions_are_for_this_site_and_for_no_script(client: Client, settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    client.get(reverse("admin:login"))
    answer = _sign_in(client, "anna", "open sesame")
    session = answer.cookies["sessionid"]
    assert (session["httponly"], session["secure"], session["samesite"]) == (True, True, "Lax")
    assert 0 < session["max-age"] <= 8 * 3600
    assert (client.cookies["csrftoken"]["secure"], client.cookies["csrftoken"]["samesite"]) == (True, "Lax")
