"""The second factor: where it is asked for, every page of the admin asks, and nobody gets past it."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from orbsite.models.audit_log import Event

pytestmark = pytest.mark.django_db
PASSWORD = "open sesame"


@pytest.fixture(autouse=True)
def _asked_for(settings: Any) -> None:
    settings.ORB_ADMIN_2FA = True
    settings.OTP_TOTP_THROTTLE_FACTOR = 0  # the tests of the throttle set it back


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_superuser("anna", password=PASSWORD)


@pytest.fixture
def place() -> str:
    return reverse("admin:console_second")


def _device(user: User, **values: Any) -> TOTPDevice:
    return TOTPDevice.objects.create(user=user, name="authenticator", **values)


def _code(device: TOTPDevice, steps: int = 0) -> str:
    device.refresh_from_db()
    shown = TOTP(device.bin_key, drift=device.drift + steps)
    return f"{shown.token():06d}"


def _signed_in(client: Client) -> Any:
    return client.post(
        reverse("admin:login"), {"username": "anna", "password": PASSWORD, "next": "/admin/te/"}, follow=True
    )


def _acts() -> list[str]:
    return list(Event.objects.order_by("pk").values_list("act", flat=True))


def test_who_has_no_authenticator_sets_one_up_after_the_password(client: Client, user: User, place: str) -> None:
    page = _signed_in(client)
    assert page.redirect_chain[-1][0] == f"{place}?next=%2Fadmin%2Fte%2F"
    assert not TOTPDevice.objects.exists(), "a page that is only looked at makes nothing"
    page = client.post(place, {"begin": "1", "next": "/admin/te/"}, follow=True)
    device = TOTPDevice.objects.get(user=user, confirmed=False)
    text = page.content.decode()
    assert page.context["secret"] in text
    assert "otpauth://totp/Orb%20persistence%3Aanna?secret=" in text
    assert 'src="data:image/svg+xml' in text
    assert client.get("/admin/te/").url.startswith(place), "not before a code was right"
    assert client.post(place, {"code": "000000", "next": "/admin/te/"}).status_code == 200
    before = client.session.session_key
    assert client.post(place, {"code": _code(device), "next": "/admin/te/"}).url == "/admin/te/"
    assert client.session.session_key != before
    assert client.get("/admin/te/").status_code == 200
    device.refresh_from_db()
    assert device.confirmed
    assert _acts() == ["sign in", "second factor failed", "second factor set up"]
    assert page.context["secret"] not in client.get(place, follow=True).content.decode()


def test_who_has_one_enters_a_code_each_time(client: Client, user: User, place: str) -> None:
    device = _device(user)
    page = _signed_in(client)
    assert page.redirect_chain[-1][0].startswith(place)
    assert device.config_url not in page.content.decode()
    assert client.post(place, {"code": _code(device)}).url == reverse("admin:index")
    client.logout()
    _signed_in(client)
    assert client.get("/admin/te/").url.startswith(place)


def test_a_code_counts_once(client: Client, user: User, place: str) -> None:
    device = _device(user)
    code = _code(device)
    _signed_in(client)
    assert client.post(place, {"code": code}).status_code == 302
    other = Client()
    _signed_in(other)
    assert other.post(place, {"code": code}).status_code == 200
    assert other.get(reverse("admin:index")).url.startswith(place)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "12 456", "-12345", "123456\n7"])
def test_what_is_no_code_is_told(client: Client, user: User, place: str, code: str) -> None:
    device = _device(user)
    _signed_in(client)
    answer = client.post(place, {"code": code})
    assert answer.status_code == 200
    assert answer.context["form"].errors["code"]
    assert client.get(reverse("admin:index")).url.startswith(place)
    device.refresh_from_db()
    assert device.throttling_failure_count == 0


def test_each_wrong_code_makes_the_next_wait(client: Client, user: User, place: str, settings: Any) -> None:
    settings.OTP_TOTP_THROTTLE_FACTOR = 1000
    device = _device(user)
    _signed_in(client)
    right = _code(device)
    client.post(place, {"code": f"{(int(right) + 7) % 10**6:06d}"})
    answer = client.post(place, {"code": right})
    assert "Wait" in answer.content.decode()
    assert client.get(reverse("admin:index")).url.startswith(place)


def test_an_authenticator_of_somebody_else_is_no_second_factor(client: Client, user: User, place: str) -> None:
    other = _device(User.objects.create_superuser("bert"))
    _device(user)
    _signed_in(client)
    assert client.post(place, {"code": _code(other)}).status_code == 200
    session = client.session
    session["otp_device_id"] = other.persistent_id
    session.save()
    assert client.get(reverse("admin:index")).url.startswith(place)


def test_a_second_one_is_not_set_up_past_the_first(client: Client, user: User, place: str) -> None:
    device = _device(user)
    _signed_in(client)
    page = client.post(place, {"begin": "1"})
    assert page.status_code == 200
    assert list(TOTPDevice.objects.all()) == [device]
    left = _device(user, confirmed=False)
    assert client.post(place, {"code": _code(left)}).status_code == 200, "one that was never confirmed opens nothing"


def test_the_password_is_asked_for_again_together_with_a_code(client: Client, user: User, place: str) -> None:
    device = _device(user)
    _signed_in(client)
    client.post(place, {"code": _code(device)})
    again, code = reverse("admin:console_again"), _code(device, 1)
    assert client.post(again, {"password": PASSWORD}).status_code == 200
    assert client.post(again, {"password": "wrong", "code": code}).status_code == 200
    assert client.post(again, {"password": PASSWORD, "code": code}).status_code == 302, "no code was lost before"
    assert client.post(again, {"password": PASSWORD, "code": code}).status_code == 200


def test_who_has_lost_it_is_let_in_by_whoever_runs_the_server(client: Client, user: User, place: str) -> None:
    device = _device(user)
    _signed_in(client)
    client.post(place, {"code": _code(device)})
    assert client.get(reverse("admin:index")).status_code == 200
    told = StringIO()
    call_command("reset_orb_2fa", "anna", stdout=told)
    assert told.getvalue().startswith("Removed 1 authenticators.")
    assert client.get(reverse("admin:index")).url.startswith(place), "the session falls back"
    assert "Set up authenticator app" in client.get(place).content.decode()
    assert Event.objects.latest("pk").subject == str(user.pk)
    with pytest.raises(CommandError, match="there is no user with this name") as problem:
        call_command("reset_orb_2fa", "berta")
    assert problem.value.returncode == 2


def test_who_has_not_shown_it_may_sign_out(client: Client, user: User) -> None:
    _signed_in(client)
    assert client.post(reverse("admin:logout")).status_code == 200
    assert client.get(reverse("admin:index")).url.startswith(reverse("admin:login"))


def test_nobody_is_asked_where_it_is_not_wanted(client: Client, user: User, place: str, settings: Any) -> None:
    settings.ORB_ADMIN_2FA = False
    _device(user)
    page = _signed_in(client)
    assert page.redirect_chain[-1][0] == "/admin/te/"
    assert client.get(place, {"next": "/admin/luna/"}).url == "/admin/luna/"


def test_who_is_nobody_learns_nothing(client: Client, place: str) -> None:
    assert client.get(place).url == reverse("admin:index")
    assert client.post(place, {"begin": "1"}).status_code == 302
    client.force_login(User.objects.create_user("plain"))
    assert client.post(place, {"begin": "1"}).status_code == 302
    assert not TOTPDevice.objects.exists()


def test_no_page_shows_secrets_of_others(admin_client: Client, settings: Any) -> None:
    assert not admin.site.is_registered(TOTPDevice)


def test_every_address_of_the_admin_asks_for_it(client: Client, user: User, place: str) -> None:
    _device(user)
    _signed_in(client)
    free = {"login", "logout", "console_second"}
    asked = 0
    for pattern in admin.site.get_urls():
        for one in getattr(pattern, "url_patterns", [pattern]):
            if one.name in free:
                continue
            address = "/admin/" + re.sub(
                r"<[^>]+>|\(\?P[^)]*\)", "1", f"{pattern.pattern}{one.pattern if one is not pattern else ''}"
            )
            address = re.sub(r"[\^$\\]", "", address)
            for answer in (client.get(address), client.post(address)):
                assert (answer.status_code, answer.url.split("?")[0]) == (302, place), address
            asked += 1
    assert asked > 60


def test_a_secret_that_another_session_has_seen_is_set_up_by_nobody_else(
    client: Client, user: User, place: str
) -> None:
    other = Client()
    _signed_in(other)
    other.post(place, {"begin": "1"})
    seen = TOTPDevice.objects.get()
    _signed_in(client)
    page = client.get(place)
    assert page.context["new"] is None
    assert "secret" not in page.context
    assert client.post(place, {"code": _code(seen)}).status_code == 200
    client.post(place, {"begin": "1"})
    own = TOTPDevice.objects.get()
    assert own.key != seen.key
    assert client.post(place, {"code": _code(own), "next": "/admin/te/"}).url == "/admin/te/"


@pytest.mark.parametrize("page", ["/api/docs", "/api/schema"])
def test_the_pages_of_the_api_ask_for_it_too(client: Client, user: User, page: str) -> None:
    _signed_in(client)
    assert client.get(page).status_code == 403
