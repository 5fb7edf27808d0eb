"""What the tests of the operations' pages share: somebody with some rights, and pages as text."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from orbsite.storage.clock import utc_now
from tests.admin import people


def somebody(*codenames: str, name: str = "olga") -> Client:
    """Return the browser of a member of the staff who has these permissions alone."""
    wanted = Permission.objects.filter(codename__in=codenames).values_list("content_type__app_label", "codename")
    return people.somebody(name, *(f"{label}.{codename}" for label, codename in wanted))


def confirm(client: Client, minutes: int = 0) -> None:
    """Let somebody have told the password so many minutes ago."""
    session: Any = client.session
    session["orb_confirmed_at"] = (utc_now() - timedelta(minutes=minutes)).isoformat()
    session.save()


def forget(client: Client) -> None:
    """Let it be so long ago that it is asked for again."""
    confirm(client, minutes=15)


def post(client: Client, name: str, form: dict[str, Any] | None = None, *arguments: Any, **options: Any) -> Any:
    return client.post(reverse(f"admin:{name}", args=arguments), form or {}, **options)


def words(response: Any) -> str:
    """Return what a page says, without its tags."""
    body = response.content.decode().split('id="content-main"', 1)[-1].split('id="footer"', 1)[0]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))
