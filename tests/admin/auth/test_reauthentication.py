"""The password is asked for again before what takes much with it, and the way back leads nowhere else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse

from orbsite.admin.auth import reauthentication
from orbsite.models.api_tokens import Token
from orbsite.models.audit_log import ACTS, Event
from orbsite.models.jobs import Job
from orbsite.storage.clock import utc_now
from tests.admin.people import staff_client

pytestmark = pytest.mark.django_db
PASSWORD = "open sesame"
PLACE = "/admin/te/reflectionrow/?q=a%20b"


@pytest.fixture
def anna(client: Client) -> Client:
    """Somebody who signed in a quarter of an hour ago."""
    client.force_login(User.objects.create_superuser("anna", password=PASSWORD))
    _told(client, minutes=15)
    Event.objects.all().delete()
    return client


def _told(client: Client, minutes: float) -> None:
    """Have a session's password told so many minutes ago."""
    session = client.session
    session["orb_confirmed_at"] = (utc_now() - timedelta(minutes=minutes)).isoformat()
    session.save()


class _Messages(list[str]):
    def add(self, level: int, message: str, extra_tags: str) -> None:
        self.append(message)


def _request(client: Client, method: str = "get") -> Any:
    request: Any = getattr(RequestFactory(), method)(PLACE)
    request.session, request._messages = client.session, _Messages()
    return request


def _acts() -> list[str]:
    return list(Event.objects.order_by("pk").values_list("act", flat=True))


def test_nobody_is_asked_who_has_just_signed_in(client: Client) -> None:
    User.objects.create_superuser("anna", password=PASSWORD)
    client.post(reverse("admin:login"), {"username": "anna", "password": PASSWORD})
    assert reauthentication.ask(_request(client)) is None


def test_after_a_while_the_page_is_asked_for_and_leads_back(anna: Client) -> None:
    view = reauthentication.confirmed(lambda request: HttpResponse("done"))
    sent = view(_request(anna))
    assert sent.status_code == 302
    page = anna.get(sent.url)
    assert page.context["next"] == PLACE
    assert anna.post(reverse("admin:console_again"), {"password": PASSWORD, "next": PLACE}).url == PLACE
    assert view(_request(anna)).content == b"done"
    assert _acts() == ["confirm"]


@pytest.mark.parametrize(("minutes", "asked"), [(4.9, False), (5.1, True), (-1, True)])
def test_five_minutes_are_enough_and_a_clock_that_went_back_asks_again(
    anna: Client, minutes: float, asked: bool
) -> None:
    _told(anna, minutes)
    assert (reauthentication.ask(_request(anna)) is not None) is asked


@pytest.mark.parametrize("kept", [None, "soon", 7, "2026-01-01T00:00:00"])
def test_a_session_that_tells_no_moment_is_asked(anna: Client, kept: Any) -> None:
    session = anna.session
    session["orb_confirmed_at"] = kept
    session.save()
    assert reauthentication.ask(_request(anna)) is not None


def test_what_was_posted_is_not_done_and_the_person_is_told(anna: Client) -> None:
    done: list[int] = []
    request = _request(anna, "post")
    assert reauthentication.confirmed(lambda request: done.append(1))(request).status_code == 302
    assert not done
    assert "Nothing was changed" in request._messages[0]
    assert not _request(anna)._messages


def test_a_method_of_a_page_is_guarded_like_a_function(anna: Client) -> None:
    class Page:
        @reauthentication.confirmed
        def act(self, request: Any, queryset: Any) -> HttpResponse:
            return HttpResponse(queryset)

    assert Page().act(_request(anna), "rows").status_code == 302
    _told(anna, 1)
    assert Page().act(_request(anna), "rows").content == b"rows"


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example.net/",
        "//evil.example.net/",
        "/\\evil.example.net",
        "\\\\evil.example.net",
        "http:evil",
        "javascript:alert(1)",
        " //evil.example.net",
        "relative",
        "",
        "/admin/\r\nLocation: //evil.example.net",
    ],
)
def test_the_way_back_never_leads_to_another_host(anna: Client, to: str) -> None:
    answer = anna.post(reverse("admin:console_again"), {"password": PASSWORD, "next": to})
    assert answer.status_code == 302
    assert answer.url == reverse("admin:index") or answer.url.startswith("/admin/")
    assert "\n" not in answer.url
    page = anna.get(reverse("admin:console_again"), {"next": to})
    assert page.context["next"].startswith("/admin/")


def test_a_wrong_password_is_told_noted_and_counted(anna: Client) -> None:
    place = reverse("admin:console_again")
    for _ in range(9):
        answer = anna.post(place, {"password": "wrong", "next": PLACE})
        assert answer.status_code == 200
    assert "The entry is wrong" in answer.content.decode()
    assert reauthentication.ask(_request(anna)) is not None
    assert _acts() == ["confirm failed"] * 9
    assert anna.post(place, {"password": "wrong"}).status_code == 429
    assert anna.post(place, {"password": PASSWORD}).status_code == 429, "locked, as at the sign-in"
    assert "wrong" not in str(list(Event.objects.values()))


def test_the_password_is_that_of_whoever_is_signed_in(anna: Client) -> None:
    User.objects.create_superuser("bert", password="another one")
    answer = anna.post(reverse("admin:console_again"), {"password": "another one", "username": "bert"})
    assert answer.status_code == 200
    assert reauthentication.ask(_request(anna)) is not None


def test_who_is_nobody_is_sent_to_the_sign_in(client: Client) -> None:
    answer = client.get(reverse("admin:console_again"))
    assert (answer.status_code, answer.url.split("?")[0]) == (302, reverse("admin:login"))


TOKEN = {
    "name": "phone",
    "scopes": '["read"]',
    "users": "[]",
    "every_user": "on",
    "expires_at_0": "",
    "expires_at_1": "",
}


def test_a_token_is_made_by_those_alone_who_told_their_password(anna: Client) -> None:
    place = reverse("admin:orbsite_token_add")
    for answer in (anna.get(place), anna.post(place, TOKEN)):
        assert answer.url.startswith(reverse("admin:console_again"))
    assert not Token.objects.exists()
    _told(anna, 1)
    assert anna.post(place, TOKEN).status_code == 200
    event = Event.objects.get(act="token made")
    assert (event.subject, event.facts["scopes"]) == (Token.objects.get().prefix, ["read"])
    assert Token.objects.get().digest not in str(event.facts)


@pytest.fixture
def _no_files(data_dir: Any, settings: Any) -> None:
    settings.ORB_DATA_DIR = data_dir


@pytest.mark.usefixtures("_no_files")
@pytest.mark.parametrize(
    ("operation", "arguments", "asked"),
    [
        ("export", {"only": ["luna", "te"]}, True),
        ("export", {"only": ["te"]}, True),
        ("export", {"only": ["luna", "te"], "user": "ana"}, False),
        ("validate", {"only": ["luna", "te"]}, False),
    ],
)
def test_a_job_that_takes_everything_asks_first(anna: Client, operation: str, arguments: Any, asked: bool) -> None:
    place = reverse("admin:operation", args=[operation])
    answer = anna.post(place, arguments)
    assert answer.url.startswith(reverse("admin:console_again")) is asked
    assert Job.objects.exists() is not asked
    _told(anna, 1)
    assert anna.post(place, arguments).status_code == 302
    job = Job.objects.latest("pk")
    _told(anna, 15)
    Job.objects.update(state="done")
    rows = {"action": "start_again", "_selected_action": [job.pk]}
    answer = anna.post(reverse("admin:orbsite_job_changelist"), rows)
    assert answer.url.startswith(reverse("admin:console_again")) is asked


def test_a_session_lasts_eight_hours_whatever_is_done_in_it(anna: Client, settings: Any) -> None:
    assert settings.SESSION_COOKIE_AGE <= 8 * 3600
    _told(anna, 8 * 60 - 1)
    assert anna.get(reverse("admin:index")).status_code == 200
    _told(anna, 8 * 60 + 1)
    assert anna.get(reverse("admin:index")).url.startswith(reverse("admin:login"))


def _people(name: str, *arguments: Any) -> str:
    return reverse(f"admin:{name}", args=arguments)


def test_the_pages_that_hand_out_rights_ask_for_the_password_first(anna: Client) -> None:
    user, group = User.objects.get(), Group.objects.get(name="viewer")
    new = {"password1": "quite another one", "password2": "quite another one", "usable_password": "true"}
    pages = {
        _people("auth_user_password_change", user.pk): new,
        _people("password_change"): {"old_password": PASSWORD, **_twice("quite another one")},
        _people("auth_user_add"): {"username": "eve", **new},
        _people("auth_user_change", user.pk): {"username": "eve", "is_superuser": "on"},
        _people("auth_group_add"): {"name": "eve"},
        _people("auth_group_change", group.pk): {"name": "eve"},
    }
    for page, form in pages.items():
        for answer in (anna.get(page), anna.post(page, form)):
            assert answer.status_code == 302, page
            assert answer.url.startswith(reverse("admin:console_again")), page
    assert User.objects.get().check_password(PASSWORD)
    assert not Group.objects.filter(name="eve").exists()
    assert _acts() == []


def test_who_may_only_look_at_people_is_not_asked() -> None:
    viewer = staff_client("vera", "auth.view_user")
    _told(viewer, minutes=15)
    user = User.objects.get(username="vera")
    assert viewer.get(_people("auth_user_change", user.pk)).status_code == 200
    assert viewer.get(_people("auth_user_password_change", user.pk)).status_code == 403


def test_what_is_changed_about_people_is_noted(anna: Client) -> None:
    _told(anna, minutes=0)
    new = {"password1": "quite another one", "password2": "quite another one", "usable_password": "true"}
    anna.post(_people("auth_user_add"), {"username": "eve", **new})
    eve = User.objects.get(username="eve")
    anna.post(_people("auth_user_password_change", eve.pk), new | {"set-password": "1"})
    anna.post(_people("auth_group_add"), {"name": "readers"})
    group = Group.objects.get(name="readers")
    anna.post(_people("auth_group_change", group.pk), {"name": "others"})
    anna.post(_people("auth_group_delete", group.pk), {"post": "yes"})
    anna.post(
        _people("auth_user_changelist"), {"action": "delete_selected", "_selected_action": [eve.pk], "post": "yes"}
    )
    assert not User.objects.filter(username="eve").exists()
    anna.post(_people("password_change"), {"old_password": PASSWORD, **_twice("quite another one")})
    assert _acts() == [
        "user made",
        "user changed",
        "group made",
        "group changed",
        "group removed",
        "user removed",
        "password changed",
    ]
    assert set(_acts()) <= set(ACTS)
    assert Event.objects.get(act="user changed").subject == str(eve.pk)
    assert not [one for one in Event.objects.all() if "quite another one" in str(one.facts)]


def _twice(password: str) -> dict[str, str]:
    return {"new_password1": password, "new_password2": password}
