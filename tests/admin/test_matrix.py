"""Every address of the admin, for everybody: looking changes nothing, and a viewer can change nothing at all.

The addresses come from Django's own list of them, and the forms from the pages as whoever may do everything sees them: a
new page is in here by itself, and fails where it takes an argument for which there is no example.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.test import Client
from django.urls import URLPattern, URLResolver

from luna.models import ActiveModeRow, ProfileRow
from orbsite.models import audit_log
from orbsite.models.api_tokens import Token, issue
from orbsite.models.jobs import Job
from orbsite.models.ledger import Change, Reject, Run
from orbsite.models.retention import PolicyRun, RetentionPolicy
from orbsite.models.statistics import Growth
from orbsite.operations.jobs import catalog
from orbsite.storage.clock import utc_now
from te.models import ReflectionRow
from tests.admin.people import staff_client

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

WRITES = re.compile(
    r'^\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM|REPLACE INTO|CREATE|ALTER|DROP)\s+"?(\w+)', re.IGNORECASE
)
OF_ONESELF = {"django_session", "orb_audit", "axes_accessattempt", "axes_accesslog", "axes_accessfailurelog"}
"""Tables that signing in and out, and telling the password again, write to."""
FOR_EVERYBODY = {
    "index",
    "login",
    "logout",
    "password_change",
    "password_change_done",
    "jsi18n",
    "console_again",
    "console_second",
}
CHANGED = {
    "te_reflectionrow_change",
    "te_reflectionrow_delete",
    "luna_profilerow_change",
    "luna_profilerow_delete",
    "luna_profilerow_changelist",
    "orbsite_retentionpolicy_change",
    "orbsite_retentionpolicy_changelist",
    "orbsite_token_changelist",
    "orbsite_job_changelist",
    "operation",
    "auth_user_delete",
}
"""Pages of which something is sent here that changes something, where one may."""
REFUSED = re.compile(
    r'''<script(?![^>]*\bsrc=)(?![^>]*type="(?:application/json|text/html)")[^>]*>|<style\b|<[a-z][^>]*\s(?:style|on[a-z]+)="'''
    r"""|(?:src|href|action)="(?:https?:)?//(?!testserver)|href="javascript:""",
    re.IGNORECASE,
)
"""Inline scripts, styles and handlers, and other hosts."""
NOW = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def _something_of_everything(settings: Any, files: Path) -> None:
    """Have a row of everything."""
    settings.ORB_DATA_DIR = files
    run = Run.objects.create(operation="migrate", state="complete", source="somewhere", started_at=utc_now())
    ProfileRow.objects.create(user_id="ana", mode_id="mars", preferences=["a"], updated_at=NOW, digest="0" * 64)
    ActiveModeRow.objects.create(user_id="ana", mode_id="mars", updated_at=NOW, digest="0" * 64)
    ReflectionRow.objects.create(
        id="r-1",
        user_id="ana",
        session_id="s",
        input="i",
        output="o",
        tags=["t"],
        created_at=NOW,
        digest="0" * 64,
        run_id=run.uid,
    )
    removal = Run.objects.create(
        operation="remove", state="complete", started_at=utc_now(), counts={"te": {"reflections": {"removed": 1}}}
    )
    key = '["ana","mars"]'
    Change.objects.create(run=run, domain="luna", kind="profiles", key=key, before="{}", after="0" * 64)
    Change.objects.create(
        run=removal,
        domain="te",
        kind="reflections",
        key='["ana","r-0"]',
        before="{}",
        after="0" * 64,
        at=NOW,
        reason="old",
    )
    Reject.objects.create(run=run, domain="te", kind="reflections", path="$.x", reason="no", original="{}")
    Growth.objects.create(day="2026-01-01", domain="te", store="sql", counts={}, size=1, noted_at=NOW)
    policy = RetentionPolicy.objects.create(name="p", domain="te", rules={"keep_last": 1})
    PolicyRun.objects.create(policy=policy, slot=NOW, worker="w", started_at=NOW, state="done")
    Job.objects.create(operation="validate", state="done", created_at=NOW, result={"ok": True})
    issue(Token(name="phone", scopes=["read"], every_user=True), utc_now())
    audit_log.note(utc_now(), "admin", "export")
    User.objects.create_user("plain")
    Group.objects.create(name="another")


@pytest.fixture
def everything() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="open sesame"))
    return client


def _addresses() -> Iterator[tuple[str, str]]:
    """Yield the name and an example of every address of the admin."""
    for one in admin.site.get_urls():
        yield from _examples(one, "/admin/", None)


def _examples(one: URLPattern | URLResolver, before: str, model_admin: Any) -> Iterator[tuple[str, str]]:
    route = f"{before}{one.pattern}"
    if isinstance(one, URLResolver):
        for child in one.url_patterns:
            yield from _examples(child, route, model_admin)
        return
    plain = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"<\1>", route)
    names = re.findall(r"<(?:\w+:)?(\w+)>", plain)
    for values in _values(route, names, getattr(one.callback, "model_admin", None)):
        assert not (missing := set(names) - set(values)), f"{route} takes {missing}: add examples"
        address = re.sub(r"<(?:\w+:)?(\w+)>", lambda match, values=values: values[match[1]], plain)
        yield one.name or "", re.sub(r"[\^$\\]|\(\?:\)", "", address)


def _values(route: str, names: list[str], owner: Any) -> list[dict[str, str]]:
    """Return examples of the arguments of an address."""
    change, removal = Change.objects.order_by("pk")[0], Run.objects.get(operation="remove")
    if "removed" in route and names:
        return [{"number": str(removal.pk), "domain": "te", "kind": "reflections"}]
    if "key" in names:
        if "domain" not in names:
            return [{"key": "ana"}]
        records = [("luna", "profiles", "ana,mars"), ("te", "reflections", "r-1")]
        return [{"domain": one, "kind": kind, "key": key, "change": str(change.pk)} for one, kind, key in records]
    if "name" in names:
        return [{"name": name} for name in catalog.OPERATIONS]
    job = str(Job.objects.order_by("-pk")[0].pk)
    values = {"app_label": "te", "content_type_id": "1", "number": job, "user": "ana", "group": "s", "url": "nowhere/"}
    values |= {"id": str(User.objects.get(username="plain").pk)}
    return [values | ({"object_id": quote(str(_of_model(owner).pk))} if owner else {"object_id": "1"})]


def _of_model(owner: Any) -> Any:
    assert owner is not None
    row = owner.model._default_manager.first()
    if row is None:  # what others made, such as rows of a library
        return owner.model(pk=1)
    return row


class _Forms(HTMLParser):
    """Reads the forms of a page that post, as a browser would send them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, list[str]], list[tuple[str, str]]]] = []
        self._form: tuple[str, dict[str, list[str]], list[tuple[str, str]]] | None = None
        self._name, self._text, self._select = "", "", ""
        self.actions: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        name = told.get("name", "")
        if tag == "form":
            self._form = (told.get("action", ""), {}, [])
            if told.get("method", "get").lower() == "post":
                self.forms.append(self._form)
        elif self._form is None:
            return
        elif tag in ("input", "button"):
            self._take(name, told.get("type", "text" if tag == "input" else "submit"), told.get("value"))
        elif tag == "textarea":
            self._name, self._text = name, ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and told.get("value"):
            self.actions += [told["value"]] if self._select == "action" else []
            self._form[1].setdefault(self._select, [told["value"]])

    def _take(self, name: str, kind: str, value: str | None) -> None:
        _, fields, buttons = self._form or ("", {}, [])
        if kind == "submit":
            buttons.append((name, value or ""))
        elif kind in ("checkbox", "radio"):  # everything that can be chosen is chosen
            fields.setdefault(name, []).append("on" if value is None else value)
        elif name and kind != "file":
            fields[name] = ["open sesame"] if kind == "password" else [value or ""]

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._form is not None:
            self._form[1][self._name] = [self._text.removeprefix("\n")]
        elif tag == "select":
            self._select = ""
        elif tag == "form":
            self._form = None


def _posts(address: str, text: str) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield what can be sent from a page, and where to."""
    page = _Forms(text)
    for action, fields, buttons in page.forms:
        to = urljoin(address, action)
        if urlsplit(to).path in ("/admin/logout/", "/admin/login/"):
            continue
        for name, value in buttons or [("", "")]:
            for chosen in page.actions if "action" in fields else [""]:
                yield to, fields | ({name: [value]} if name else {}) | ({"action": [chosen]} if chosen else {})


@contextmanager
def _written(most_of: set[str] = OF_ONESELF) -> Iterator[list[str]]:
    """Give the tables that are written to meanwhile, past those of oneself; put everything back."""
    found: list[str] = []

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if (match := WRITES.match(sql)) and match[1] not in most_of:
            found.append(match[1])
        return execute(sql, params, many, context)

    with transaction.atomic():
        mark = getattr(transaction, "savepoint_create", transaction.savepoint)()  # as Django 6.1 calls it
        with connection.execute_wrapper(watch):
            yield found
        transaction.savepoint_rollback(mark)


def _sent(client: Client, to: str, form: dict[str, list[str]]) -> tuple[int, list[str]]:
    cookies = client.cookies.copy()
    with _written() as tables:
        status = client.post(to, form).status_code
    client.cookies = cookies  # a session that it made is gone again
    return status, tables


def test_looking_changes_nothing(everything: Client) -> None:
    seen = 0
    for name, address in _addresses():
        if name in ("login", "logout"):
            continue
        with _written() as tables:
            answer = everything.get(address)
            content = getattr(answer, "content", b"") or b"".join(getattr(answer, "streaming_content", []))
        assert answer.status_code < 500, (address, answer.status_code)
        _is_private_and_strict(address, answer, content)
        assert not tables, f"GET {address} writes to {tables}"
        seen += len(content) > 0
    assert seen > 60


def _is_private_and_strict(address: str, answer: Any, content: bytes) -> None:
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy, address
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "https:"} & set(policy.replace(";", " ").split()), address
    wanted = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"}
    assert {name: answer.headers.get(name) for name in wanted} == wanted, address
    assert "no-store" in answer.headers["Cache-Control"], address
    if "html" in answer.headers.get("Content-Type", ""):
        assert not REFUSED.findall(content.decode()), f"{address} has what its own policy refuses"


def _every_post(everything: Client) -> list[tuple[str, str, dict[str, list[str]]]]:
    """Return what whoever may do everything can send, from every page."""
    found: list[tuple[str, str, dict[str, list[str]]]] = []
    for name, address in _addresses():
        if name in ("login", "logout", "password_change"):
            continue
        answer = everything.get(address)
        if answer.status_code == 200 and "html" in answer["Content-Type"]:
            found += [(name, *one) for one in _posts(address, answer.content.decode())]
        found += [(name, address, form) for form in ({}, {"post": ["yes"]}, {"confirm": ["1"]}, {"_save": ["1"]})]
    return found


def test_a_viewer_can_change_nothing(everything: Client) -> None:
    viewer = staff_client("vera", group="viewer")
    for name, to, form in _every_post(everything):
        status, tables = _sent(viewer, to, form)
        assert not tables, f"{name}: POST {to} of {sorted(form)} wrote to {tables}"
        assert status < 500, (to, status)
    assert viewer.get("/admin/te/reflectionrow/").status_code == 200, "all of that was sent by a viewer"


def test_what_is_sent_would_change_something_if_one_might(everything: Client) -> None:
    does = {name for name, to, form in _every_post(everything) if name in CHANGED and _sent(everything, to, form)[1]}
    assert does == CHANGED


def test_who_may_see_nothing_can_send_nothing(everything: Client) -> None:
    nobody, plain = staff_client("nora"), Client()
    plain.force_login(User.objects.get(username="plain"))
    for name, address in _addresses():
        if name in FOR_EVERYBODY:
            continue
        for who, wanted in ((nobody, (403, 404, 405)), (plain, (302, 403)), (Client(), (302, 403))):
            status, tables = _sent(who, address, {"post": ["yes"]})
            assert (status in (*wanted, 302 if not name else 404), tables) == (True, []), (
                name,
                address,
                status,
                tables,
            )


def test_an_operator_can_change_neither_people_nor_rights(everything: Client) -> None:
    operator = staff_client("olga", group="operator")
    changed: set[str] = set()
    for name, to, form in _every_post(everything):
        status, tables = _sent(operator, to, form)
        assert status < 500, (to, status)
        assert not [one for one in tables if one.startswith(("auth_", "otp_", "axes_"))], (name, to, tables)
        if name.startswith(("auth_", "axes_", "django_tasks")) or name == "orbsite_token_add":
            assert (status in (403, 404), tables) == (True, []), (name, to, status, tables)
        changed |= set(tables)
    assert {"te_reflections", "luna_profiles", "orb_policies", "orb_jobs", "orb_tokens"} <= changed


def test_what_one_may_not_see_is_not_there(everything: Client) -> None:
    nobody = staff_client("nora")
    for name, address in _addresses():
        if name in FOR_EVERYBODY:
            continue
        status = nobody.get(address, follow=True).status_code
        assert status in (404, 405), f"{name}: {address} answers {status} to somebody without any right"


def test_nobody_gets_in_who_is_not_of_the_staff(everything: Client) -> None:
    plain = Client()
    plain.force_login(User.objects.get(username="plain"))
    for client in (Client(), plain):
        for name, address in _addresses():
            if name in FOR_EVERYBODY:
                continue
            answer = client.get(address)
            assert answer.status_code == 302, (name, address)
            assert answer.url.startswith("/admin/login/"), (name, address)
