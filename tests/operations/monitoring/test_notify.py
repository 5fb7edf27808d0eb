"""An alert is told of once when it begins and once when it ends, by each channel, and again where that failed."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message as Mailed
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from django.core import mail
from django.core.checks import run_checks
from django.db import DatabaseError

from orbsite.conf import app_settings
from orbsite.models.notifications import Notification
from orbsite.operations.jobs import catalog, jobs
from orbsite.operations.monitoring import notify as notifying
from orbsite.operations.monitoring.alert import Alert, Severity
from orbsite.operations.monitoring.channels import Channel, Message, NotSent, signature
from orbsite.operations.monitoring.notify import note, notify, send_due

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = "k" * 40
DISK = Alert(name="disk", severity=Severity.WARNING, title="The disk is nearly full", text="ana's secret text")
POLICY = Alert(name="policy-3", severity=Severity.ERROR, title="The policy “ana's notes” has failed", text="")
HINT = Alert(name="mode", severity=Severity.NOTE, title="A note", text="")


@dataclass
class Told(Channel):
    """A channel that keeps what it was told, and refuses as often as it should."""

    name = "told"
    refusals: int = 0
    messages: list[tuple[str, str]] = field(default_factory=list)

    def send(self, message: Message) -> None:
        if self.refusals:
            self.refusals -= 1
            raise NotSent("away")
        self.messages.append((message.event, message.title))


def clock(minutes: float = 0) -> Any:
    return lambda: NOW + minutes * MINUTE


def test_each_alert_is_told_of_twice_whatever_the_number_of_rounds() -> None:
    way = Told()
    for minutes, found in enumerate(([DISK, HINT], [DISK], [DISK, POLICY], [], [], [DISK])):
        note(found, [way], clock(minutes)())
        send_due([way], clock(minutes))
    assert way.messages == [
        ("began", "The disk is nearly full"),
        ("began", "The policy … has failed"),
        ("ended", "The disk is nearly full"),
        ("ended", "The policy … has failed"),
        ("began", "The disk is nearly full"),
    ]


def test_a_message_that_was_refused_is_sent_later_each_time_longer() -> None:
    way = Told(refusals=3)
    note([DISK], [way], NOW)
    tried = []
    for minute in range(12):
        before = way.refusals
        if send_due([way], clock(minute)) or way.refusals < before:
            tried.append(minute)
    assert tried == [0, 1, 3, 7]
    assert way.messages == [("began", "The disk is nearly full")]


def test_two_hosts_send_one_message() -> None:
    ways = [Told(), Told()]

    class Slow(Told):
        def send(self, message: Message) -> None:
            assert send_due([ways[1]], clock()) == 0  # the other host, meanwhile
            super().send(message)

    ways[0] = Slow()
    for way in ways:
        note([DISK], [way], NOW)
    assert send_due([ways[0]], clock()) == 1
    assert (len(ways[0].messages), ways[1].messages) == (1, [])


def test_what_was_told_long_ago_is_deleted() -> None:
    way = Told()
    for minutes, found in ((0, [DISK]), (1, []), (60 * 24 * 40, [])):
        note(found, [way], clock(minutes)())
        send_due([way], clock(minutes))
    assert not Notification.objects.exists()


@pytest.fixture
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "alerts", lambda *_: [DISK, POLICY])
    monkeypatch.setattr(notifying, "look", lambda *_: None)
    monkeypatch.setattr(notifying, "_looked", [])


@pytest.mark.usefixtures("_found")
def test_nothing_is_told_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "look", lambda *_: pytest.fail("nobody is told"))
    assert notify(clock()) == 0


@pytest.mark.usefixtures("_found")
def test_mail_has_no_text_of_users(settings: Any) -> None:
    settings.ORB_NOTIFY_EMAILS = "olga@example.org, otto@example.org"
    assert notify(clock()) == 2
    assert notify(clock(1)) == 0
    assert [one.subject for one in mail.outbox] == [
        "[orb] warning: The disk is nearly full",
        "[orb] error: The policy … has failed",
    ]
    assert mail.outbox[0].to == ["olga@example.org", "otto@example.org"]
    assert "ana" not in "".join(one.body for one in mail.outbox)


@pytest.mark.usefixtures("_found")
def test_mail_that_cannot_be_sent_is_kept(settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    settings.ORB_NOTIFY_EMAILS = "olga@example.org"

    def refuse(*_: Any, **__: Any) -> None:
        raise smtplib.SMTPException("password=secret")

    monkeypatch.setattr("django.core.mail.EmailMessage.send", refuse)
    assert notify(clock()) == 0
    assert Notification.objects.filter(begin_sent_at=None, tries=1).count() == 2
    assert "the mail was not sent: SMTPException" in caplog.text
    assert "secret" not in caplog.text


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[Mailed, bytes]], list[int]]]:
    """A server that keeps the headers and the bodies of requests, and answers with the statuses it is given."""
    got: list[tuple[Mailed, bytes]] = []
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(statuses.pop(0) if statuses else 204)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook?a=b", got, statuses
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("_found")
def test_a_webhook_gets_signed_json_and_is_followed_nowhere(settings: Any, receiver: Any) -> None:
    settings.DEBUG = True
    settings.ORB_NOTIFY_WEBHOOK, got, statuses = receiver
    settings.ORB_NOTIFY_WEBHOOK_KEY = KEY
    statuses += [302, 500]
    assert notify(clock()) == 0
    assert len(got) == 2
    assert notify(clock(1)) == 2
    headers, body = got[2]
    assert headers["X-Orb-Signature"] == signature(KEY, body)
    assert signature("another", body) != signature(KEY, body)
    assert json.loads(body) == {
        "event": "began",
        "alert": "disk",
        "severity": "warning",
        "title": "The disk is nearly full",
        "at": "2026-03-10T12:00:00.000Z",
    }


@pytest.mark.usefixtures("_found")
def test_a_webhook_that_is_away_leaves_maintenance_alone(settings: Any) -> None:
    settings.DEBUG, settings.ORB_NOTIFY_WEBHOOK = True, "http://127.0.0.1:1/"
    settings.ORB_NOTIFY_WEBHOOK_KEY = KEY
    assert notify(clock()) == 0
    assert Notification.objects.filter(tries=1).count() == 2


@pytest.mark.usefixtures("_found")
def test_no_error_of_ours_makes_maintenance_fail(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ORB_NOTIFY_EMAILS = "olga@example.org"

    def refuse(*_: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(notifying, "look", refuse)
    assert notify(clock()) == 0


@pytest.mark.parametrize(
    ("values", "is_fine"),
    [
        ({}, True),
        ({"ORB_NOTIFY_EMAILS": "olga"}, False),
        ({"ORB_NOTIFY_WEBHOOK": "https://hooks.example.org/x", "ORB_NOTIFY_WEBHOOK_KEY": KEY}, True),
        ({"ORB_NOTIFY_WEBHOOK": "https://hooks.example.org/x", "ORB_NOTIFY_WEBHOOK_KEY": "short"}, False),
        ({"ORB_NOTIFY_WEBHOOK": "http://hooks.example.org/x", "ORB_NOTIFY_WEBHOOK_KEY": KEY}, False),
        ({"ORB_NOTIFY_WEBHOOK": "https://ada:x@hooks.example.org/", "ORB_NOTIFY_WEBHOOK_KEY": KEY}, False),
        ({"ORB_NOTIFY_WEBHOOK": "file:///etc/passwd", "ORB_NOTIFY_WEBHOOK_KEY": KEY}, False),
    ],
)
def test_settings_are_checked(settings: Any, values: dict[str, str], is_fine: bool) -> None:
    for name, value in values.items():
        setattr(settings, name, value)
    assert ("orb.E015" not in {one.id for one in run_checks(tags=["orb"])}) is is_fine


def test_plain_http_is_for_debugging_alone(settings: Any) -> None:
    settings.DEBUG, settings.ORB_NOTIFY_WEBHOOK, settings.ORB_NOTIFY_WEBHOOK_KEY = True, "http://localhost/", KEY
    found = app_settings.webhook()
    assert found is not None
    assert KEY not in repr(found)


def test_maintenance_tells_of_alerts(
    settings: Any, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    settings.ORB_NOTIFY_EMAILS = "olga@example.org"
    monkeypatch.setattr(notifying, "_looked", [])
    monkeypatch.setattr(notifying, "alerts", lambda *_: [DISK])
    with django_capture_on_commit_callbacks(execute=True):
        jobs.start(catalog.Maintain.name, {}, now=clock())
    assert [one.subject for one in mail.outbox] == ["[orb] warning: The disk is nearly full"]
