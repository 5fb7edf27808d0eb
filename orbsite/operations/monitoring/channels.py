"""The ways to tell of an alert: mail, and a signed request to a webhook. Neither has texts of users or secrets."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import smtplib
import ssl
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import urlsplit

from django.core.mail import EmailMessage
from typing_extensions import override

from orbsite.conf import app_settings
from orbsite.conf.app_settings import Webhook
from orbsite.storage.errors import OrbError

TIMEOUT = 10.0
"""The seconds after which a webhook counts as unreachable."""


class NotSent(OrbError):
    """A message could not be delivered; it is tried again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """That an alert has begun or ended."""

    event: str
    """`began` or `ended`."""
    alert: str
    severity: str
    title: str
    at: str
    """When it began or ended, in ISO 8601."""


class Channel(ABC):
    """A way to deliver messages."""

    name: ClassVar[str]

    @abstractmethod
    def send(self, message: Message) -> None:
        """Deliver a message. Raises NotSent."""


@dataclass(frozen=True, slots=True)
class Mail(Channel):
    """Mails to the addresses in ORB_NOTIFY_EMAILS, with Django's mail settings."""

    name = "mail"
    addresses: list[str]

    @override
    def send(self, message: Message) -> None:
        ended = "Ended: " if message.event == "ended" else ""
        text = f"{message.title}\n\nIt {message.event} at {message.at}. The dashboard of the console says what to do.\n"
        mail = EmailMessage(f"[orb] {ended}{message.severity}: {message.title}", text, to=self.addresses)
        try:
            mail.send()
        except (OSError, smtplib.SMTPException) as problem:
            raise NotSent(f"the mail was not sent: {type(problem).__name__}") from problem


@dataclass(frozen=True, slots=True)
class WebhookChannel(Channel):
    """Posts JSON to ORB_NOTIFY_WEBHOOK, signed with ORB_NOTIFY_WEBHOOK_KEY. It follows no redirect."""

    name = "webhook"
    webhook: Webhook

    @override
    def send(self, message: Message) -> None:
        body = json.dumps(asdict(message), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "X-Orb-Signature": signature(self.webhook.key, body)}
        try:
            status = _post(self.webhook.url, body, headers)
        except (OSError, http.client.HTTPException) as problem:
            raise NotSent(f"the webhook was not reached: {type(problem).__name__}") from problem
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise NotSent(f"the webhook answered {status}")


def signature(key: str, body: bytes) -> str:
    """Return the signature of a body: `sha256=` and the HMAC in hex. The body has the time of its event."""
    return f"sha256={hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}"


def channels() -> list[Channel]:
    """Return the channels that are configured; none by default. Raises ImproperlyConfigured."""
    addresses, webhook = app_settings.notified_emails(), app_settings.webhook()
    return [*([Mail(addresses)] if addresses else []), *([WebhookChannel(webhook)] if webhook else [])]


def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    parts = urlsplit(url)
    host, path = parts.hostname or "", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    connection = (
        http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT)
    )
    try:
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
