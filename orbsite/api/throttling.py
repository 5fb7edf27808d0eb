"""Limits the request rate of each token, so that one caller does not starve the others.

The limits are for fairness, not for security: each process counts on its own and approximately. Tokens cannot be
guessed because they have 256 random bits.
"""

from __future__ import annotations

import math
import time
from typing import Any

from django.core.cache import cache
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from orbsite.conf import app_settings
from orbsite.runtime.client_ip import network_of, of_client

_GUESSES, _GUESS_WINDOW = 20, 60


class TokenThrottle(BaseThrottle):
    """Allows each token the number of requests per time window that ORB_API_RATE sets."""

    def __init__(self) -> None:
        self._ends = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:  # noqa: ARG002 -- REST framework's signature
        """Count the request, and tell whether it is within the limit."""
        limit = app_settings.api_rate()
        if limit is None or request.auth is None:
            return True
        most, seconds = limit
        self._ends = (time.time() // seconds + 1) * seconds
        return _count(f"orb-token-{request.auth.pk}-{self._ends:.0f}", seconds) <= most

    def wait(self) -> float:
        """Return the number of seconds until the current time window ends."""
        return math.ceil(self._ends - time.time())


def note_guess(request: Request) -> None:
    """Count an invalid token from an address. Raises Throttled after 20 in a minute. Valid tokens are never counted."""
    ends = (time.time() // _GUESS_WINDOW + 1) * _GUESS_WINDOW
    if _count(f"orb-guesses-{network_of(request) or of_client(request)}-{ends:.0f}", _GUESS_WINDOW) > _GUESSES:
        raise Throttled(wait=math.ceil(ends - time.time()))


def _count(key: str, seconds: int) -> int:
    if cache.add(key, 1, seconds + 1):
        return 1
    try:
        return cache.incr(key)
    except ValueError:  # the counter expired meanwhile
        return 1
