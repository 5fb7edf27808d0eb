"""What the tests of the operations' pages share: staff with some permissions, and pages as text."""

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


def staff_client(*codenames: str, name: str = "olga") -> Client:
    """Return a signed-in client of a staff user with only these permissions."""
    wanted = Permission.objects.filter(codename__in=codenames).values_list("content_type__app_label", "codename")
    return people.staff_client(name, *(f"{label}.{codename}" for label, codename in wanted))


def confirm(client: Client, minutes: int = 0) -> None:
    """Have the password confirmed that many minutes ago."""
    session: Any = client.session
    session["orb_confirmed_at"] = (utc_now() - timedelta(minutes=minutes)).isoformat()
    session.save()


def forget(client: Client) -> None:
    """Have the password confirmed so long ago that it is asked for again."""
    confirm(client, minutes=15)


def post(client: Client, name: str, form: dict[str, Any] | None = None, *arguments: Any, **options: Any) -> Any:
    return client.post(reverse(f"admin:{name}", args=arguments), form or {}, **options)


def words(response: Any) -> str:
    """Return what a page says, without its tags."""
    body = response.content.decode().split('id="content-main"', 1)[-1].split('id="footer"', 1)[0]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))
