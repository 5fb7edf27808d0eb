"""How often anybody may ask, so that one caller leaves room for the others.

This is about fairness, not about safety: each process counts on its own, and roughly. What keeps guessers out is that
a token has 256 bits.
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

_GUESSES, _GUESSING = 20, 60


class TokenThrottle(BaseThrottle):
    """So many requests of a token in so many seconds, as ORB_API_RATE says."""

    def __init__(self) -> None:
        self._ends = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:  # noqa: ARG002 -- REST framework's signature
        """Count this request, and tell whether it is not one too many."""
        limit = app_settings.api_rate()
        if limit is None or request.auth is None:
            return True
        most, seconds = limit
        self._ends = (time.time() // seconds + 1) * seconds
        return _count(f"orb-token-{request.auth.pk}-{self._ends:.0f}", seconds) <= most

    def wait(self) -> float:
        """Return in how many seconds it may try again."""
        return math.ceil(self._ends - time.time())


def note_guess(request: Request) -> None:
    """Count a wrong token from an address: after some, the answer is to wait (Throttled). Right ones never wait."""
    ends = (time.time() // _GUESSING + 1) * _GUESSING
    if _count(f"orb-guesses-{network_of(request) or of_client(request)}-{ends:.0f}", _GUESSING) > _GUESSES:
        raise Throttled(wait=math.ceil(ends - time.time()))


def _count(key: str, seconds: int) -> int:
    if cache.add(key, 1, seconds + 1):
        return 1
    try:
        return cache.incr(key)
    except ValueError:  # it ended meanwhile
        return 1
