"""Counts the requests of the API that read or save records, and saves the counts at most once a minute.

The table is written by a thread of its own after a response, so that no request waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.db import DatabaseError, connections
from django.http import HttpRequest, HttpResponseBase

from orbsite.models.api_tokens import Token
from orbsite.operations.statistics.usage import UsageCounter, save
from orbsite.storage.clock import utc_now

logger = logging.getLogger(__name__)

COUNTER = UsageCounter()
_PATH = "/api/v1/users/"
_READS, _SAVES = frozenset({"GET", "HEAD"}), frozenset({"POST", "PUT", "PATCH", "DELETE"})

Next = Callable[[HttpRequest], HttpResponseBase]


def counted(following: Next) -> Next:
    """Count each request that has read or saved records, by its token."""
    next_save = time.monotonic() + settings.ORB_USAGE_SECONDS

    def respond(request: HttpRequest) -> HttpResponseBase:
        nonlocal next_save
        answer = following(request)
        token = getattr(request, "auth", None)
        if isinstance(token, Token) and _has_worked(request, answer):
            COUNTER.count(str(token), saves=request.method in _SAVES, now=utc_now())
            if settings.ORB_USAGE_SECONDS and time.monotonic() >= next_save:
                next_save = time.monotonic() + settings.ORB_USAGE_SECONDS
                threading.Thread(target=save_now, name="orb-usage", daemon=True).start()
        return answer

    return respond


def save_now() -> None:
    """Save the counts of this process. Where that fails, they are saved with the next ones."""
    try:
        save(COUNTER)
    except DatabaseError as problem:
        logger.warning("the use by clients was not saved this time: %s", type(problem).__name__)
    finally:
        connections.close_all()


def _has_worked(request: HttpRequest, answer: HttpResponseBase) -> bool:
    is_about_records = request.path.startswith(_PATH) and request.method in _READS | _SAVES
    return is_about_records and answer.status_code < HTTPStatus.BAD_REQUEST
