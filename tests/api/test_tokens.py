"""Tokens: shown once, kept as digests, limited, and gone within one request."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from orbsite.conf.checks import check_settings
from orbsite.management.commands import create_orb_token
from orbsite.models.api_tokens import SCOPE_MEANINGS, SCOPES, Token, bearer
from tests.api.conftest import Caller, make_token, refused

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/users/ana/profiles"
NOW = datetime.now(UTC)


def test_a_dump_of_the_database_holds_no_token_that_works() -> None:
    sent = make_token(users=["ana"])
    mark, prefix, secret = sent.split("_", 2)
    assert (len(prefix), len(secret)) == (8, 43), "256 bits in base64url"
    assert Token.objects.get().digest == sha256(secret.encode()).hexdigest()
    assert len({make_token().split("_", 2)[part] for _ in range(50) for part in (1, 2)}) == 100
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM orb_tokens")
        dump = repr(cursor.fetchall())
    assert prefix in dump
    assert secret not in dump
    for column in dump.split("'"):
        assert bearer(f"{mark}_{prefix}_{column}", NOW) is None
    assert bearer(sent, NOW) is not None


@pytest.mark.parametrize("spoil", [lambda sent: sent[:-1], lambda sent: sent + "x", lambda sent: sent.swapcase(),
                                   lambda sent: "x" + sent, lambda sent: "", lambda sent: "orb__", lambda sent: sent + " x",
                                   lambda sent: sent.replace("_", "-"), lambda sent: "é" + sent])  # fmt: skip
def test_what_is_no_token_lets_nobody_in(spoil: Callable[[str], str]) -> None:
    spoiled = spoil(make_token(users=["ana"]))
    answer = Caller(spoiled).get(ADDRESS)
    refused(answer, 401, "unauthenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="orb"'


def test_nobody_gets_in_without_a_token(nobody: Caller) -> None:
    refused(nobody.get(ADDRESS), 401)
    refused(nobody.post(ADDRESS, {"modeId": "mars"}), 401)
    refused(nobody.get(ADDRESS, Authorization="Basic YW5hOmFuYQ=="), 401)
    refused(nobody.get("/metrics"), 401)


def test_a_session_lets_nobody_in_either(admin_client: Client) -> None:
    assert admin_client.get(ADDRESS).status_code == 401
    assert admin_client.post(ADDRESS, {}, content_type="application/json").status_code == 401


def test_a_revoked_token_is_refused_by_the_next_request(ana: Caller) -> None:
    assert ana.get(ADDRESS).status_code == 200
    Token.objects.update(revoked_at=NOW)
    refused(ana.get(ADDRESS), 401)


def test_an_expired_token_is_refused() -> None:
    now = datetime.now(UTC)
    sent = make_token(users=["ana"], expires_at=now + timedelta(hours=1))
    assert bearer(sent, now) is not None
    assert bearer(sent, now + timedelta(hours=1)) is None
    assert bearer(sent, now + timedelta(minutes=59)) is not None


def test_every_refusal_of_a_token_says_the_same() -> None:
    def told(sent: str) -> Any:
        body = refused(Caller(sent).get(ADDRESS), 401)
        return {name: value for name, value in body.items() if name != "instance"}

    good = make_token(users=["ana"])
    wrong, revoked = good[:-2] + "zz", make_token(revoked_at=NOW)
    expired = make_token(expires_at=NOW - timedelta(days=1))
    assert told(wrong) == told(revoked) == told(expired) == told("orb_00000000_x")


@pytest.mark.parametrize(
    ("scopes", "reads", "writes", "operates"),
    [
        (["read"], 200, 403, 403),
        (["write"], 200, 201, 403),
        (["operate"], 403, 403, 200),
        (["admin"], 200, 201, 200),
        (["read", "operate"], 200, 403, 200),
    ],
)
def test_a_scope_allows_what_it_contains(scopes: list[str], reads: int, writes: int, operates: int) -> None:
    caller = Caller(make_token(*scopes, users=["ana"]))
    assert caller.get(ADDRESS).status_code == reads
    assert caller.post(ADDRESS, {"modeId": "mars"}).status_code == writes
    assert caller.get("/metrics").status_code == operates


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("place", ["profiles", "profiles/mars", "active-mode", "modes"])
def test_another_users_things_are_not_there_whether_they_are_or_not(method: str, place: str) -> None:
    bo = Caller(make_token(users=["bo"]))
    bo.post("/api/v1/users/bo/profiles", {"modeId": "mars"})
    for scopes in (["read"], ["write"], ["operate"], ["admin"]):
        caller = Caller(make_token(*scopes, users=["ana", "cy"]))
        if method == "POST" and place != "profiles":
            assert caller(method, f"/api/v1/users/bo/{place}", {}).status_code == 405
            continue
        there = refused(caller(method, f"/api/v1/users/bo/{place}", None if method == "GET" else {}), 404)
        nowhere = refused(caller(method, f"/api/v1/users/nobody/{place}", None if method == "GET" else {}), 404)
        assert there | {"instance": ""} == nowhere | {"instance": ""}


def test_a_token_is_for_several_users_or_for_every_one() -> None:
    several, every = Caller(make_token(users=["ana", "b/o"])), Caller(make_token(every_user=True))
    none = Caller(make_token())
    for user, status in (("ana", 200), ("~Yi9v", 200), ("cy", 404)):
        assert several.get(f"/api/v1/users/{user}/profiles").status_code == status
        assert every.get(f"/api/v1/users/{user}/profiles").status_code == 200
        assert none.get(f"/api/v1/users/{user}/profiles").status_code == 404


def test_the_last_use_is_noted_once_a_minute(ana: Caller) -> None:
    token = Token.objects.get()
    assert token.last_used_at is None
    ana.get(ADDRESS)
    token.refresh_from_db()
    first = token.last_used_at
    assert first is not None
    for later, noted in ((59, first), (60, first + timedelta(seconds=60)), (-5, first - timedelta(seconds=5))):
        Token.objects.update(last_used_at=first)
        token.last_used_at = first
        token.note_use(first + timedelta(seconds=later))
        assert Token.objects.get().last_used_at == noted


@pytest.mark.django_db(transaction=True)
def test_who_reads_is_answered_also_where_the_use_cannot_be_noted(ana: Caller) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
    try:
        assert ana.get(ADDRESS).status_code == 200
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only = OFF")
    assert Token.objects.get().last_used_at is None


def test_too_many_requests_of_a_token_have_to_wait(ana: Caller, settings: Any) -> None:
    settings.ORB_API_RATE = "3/1000s"
    assert [ana.get(ADDRESS).status_code for _ in range(3)] == [200] * 3
    answer = ana.get(ADDRESS)
    refused(answer, 429, "too-many-requests")
    assert 1 <= int(answer["Retry-After"]) <= 1000
    assert Caller(make_token(users=["ana"])).get(ADDRESS).status_code == 200


def test_who_guesses_has_to_wait_and_the_others_have_not(ana: Caller) -> None:
    statuses = [Caller("orb_00000000_wrong").get(ADDRESS, X_Forwarded_For=f"10.0.0.{n}").status_code for n in range(25)]
    assert statuses == [401] * 20 + [429] * 5
    assert ana.get(ADDRESS).status_code == 200


def _made(*arguments: str) -> str:
    out = StringIO()
    call_command("create_orb_token", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue().strip()


def test_the_command_makes_a_token() -> None:
    sent = _made("--name", "phone", "--scope", "write", "--user", "ana", "--user", "bo", "--expires-days", "2")
    token = bearer(sent, NOW)
    assert token is not None
    assert (token.name, token.scopes, token.users, token.every_user) == ("phone", ["write"], ["ana", "bo"], False)
    assert token.expires_at is not None
    assert timedelta(days=1.9) < token.expires_at - NOW < timedelta(days=2.1)
    told = json.loads(_made("--name", "all", "--scope", "operate", "--every-user", "--format", "json"))
    assert bearer(told["token"], NOW).every_user  # type: ignore[union-attr]
    assert told["expiresAt"] is None


@pytest.mark.parametrize(
    "name", ["ORB_TOKEN_MAX_OPEN_JOBS", "ORB_TOKEN_MAX_JOBS_PER_DAY", "ORB_TOKEN_MAX_BYTES", "ORB_KEEP_EXPORTS_DAYS"]
)
@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "all", "٣"])
def test_a_limit_that_is_no_number_is_told_by_the_checks(name: str, value: str, settings: Any) -> None:
    assert check_settings() == []
    setattr(settings, name, value)
    (told,) = check_settings()
    assert name in told.msg
    assert told.id == "orb.E011"
    setattr(settings, name, "none")
    assert check_settings() == []


def test_those_who_make_tokens_are_told_what_each_scope_lets_them_do(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:orbsite_token_add")).content.decode()
    told = " ".join(create_orb_token.Command().create_parser("manage.py", "create_orb_token").format_help().split())
    for scope, meaning in SCOPE_MEANINGS.items():
        assert f'"{scope}" {meaning}.' in page
        assert f'"{scope}" {meaning}.' in told
    assert set(SCOPE_MEANINGS) == set(SCOPES)


@pytest.mark.parametrize("user", ["", "x" * 256, "a\x00", "a\udcff"])
def test_the_command_refuses_users_that_cannot_be(user: str) -> None:
    with pytest.raises(CommandError) as refusal:
        _made("--name", "x", "--scope", "read", "--user", user)
    assert refusal.value.returncode == 2
    assert not Token.objects.exists()


def test_the_admin_shows_a_new_token_once_and_revokes_it(admin_client: Client) -> None:
    page = reverse("admin:orbsite_token_add")
    form = {"name": "phone", "scopes": '["read"]', "users": '["ana"]', "expires_at_0": "", "expires_at_1": ""}
    shown = admin_client.post(page, form).content.decode()
    sent = shown.split("<code>")[1].split("</code>")[0]
    token = bearer(sent, NOW)
    assert token is not None
    assert token.created_by == "admin"
    secret = sent.split("_", 2)[2]
    for name, arguments in (("changelist", []), ("change", [token.pk])):
        text = admin_client.get(reverse(f"admin:orbsite_token_{name}", args=arguments)).content.decode()
        assert token.prefix in text
        assert secret not in text
        assert token.digest not in text
    with connection.cursor() as cursor:
        for table in ("django_session", "django_admin_log"):
            cursor.execute(f"SELECT * FROM {table}")
            assert secret not in repr(cursor.fetchall())
    changes = {"action": "revoke", "_selected_action": [token.pk]}
    admin_client.post(reverse("admin:orbsite_token_changelist"), changes)
    assert bearer(sent, NOW) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"scopes": '["all"]'},
        {"scopes": "[]"},
        {"scopes": "{}"},
        {"users": "[1]"},
        {"users": '"ana"'},
        {"users": '["a\\u0000"]'},
        {"users": '["a\\ud800"]'},
    ],
)
def test_the_admin_refuses_limits_that_are_none(admin_client: Client, fields: dict[str, str]) -> None:
    form = {"name": "x", "scopes": '["read"]', "users": "[]", "expires_at_0": "", "expires_at_1": ""} | fields
    assert admin_client.post(reverse("admin:orbsite_token_add"), form).status_code == 200
    assert not Token.objects.exists()
