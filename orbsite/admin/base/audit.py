"""What is done through pages, in the audit trail."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from orbsite.models import audit_log
from orbsite.runtime.client_ip import of_client
from orbsite.storage.clock import utc_now


def note(request: HttpRequest, act: str, *, subject: Any = "", **facts: Any) -> None:
    """Add a row about whoever is signed in. Ids and numbers, never contents."""
    audit_log.note(
        utc_now(), request.user.get_username(), act, subject=str(subject), address=of_client(request), **facts
    )
