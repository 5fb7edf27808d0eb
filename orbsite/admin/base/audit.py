"""Writes the actions of admin users to the audit log."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from orbsite.models import audit_log
from orbsite.runtime.client_ip import of_client
from orbsite.storage.clock import utc_now


def note(request: HttpRequest, act: str, *, subject: Any = "", **facts: Any) -> None:
    """Add an audit log row for the signed-in user. `facts` may hold ids and numbers, never the texts of records."""
    audit_log.note(
        utc_now(), request.user.get_username(), act, subject=str(subject), address=of_client(request), **facts
    )
