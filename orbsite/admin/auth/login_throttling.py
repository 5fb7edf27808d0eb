"""Login throttling: wrong passwords are counted by username and network, by network, and by username.

A network is an IPv4 address, or the /64 of an IPv6 address, which belongs to one client. Every lockout ends, even while
an attack goes on, because attempts during a lockout are not counted. Attempts from other networks never lock out a
network from which the same username has signed in before. Responses do not reveal whether a username exists.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username, get_failure_limit
from axes.models import AccessAttempt, AccessLog
from django.db.models import Max, Sum
from django.http import HttpRequest
from django.utils import timezone

WINDOW = timedelta(minutes=15)
"""How long a network is locked out after its last counted attempt."""
MEMORY = timedelta(hours=24)
"""How long the attempts for one username are added up; equal to AXES_COOLOFF_TIME, after which axes deletes them."""
MOST_OF_NETWORK = 20
"""The limit of wrong passwords from one network, for all usernames together."""
MOST_OF_NAME = 30
"""The limit of wrong passwords for one username from all networks; above it, unknown networks are locked out."""
FIRST_WAIT = timedelta(seconds=15)


class Handler(AxesDatabaseHandler):  # type: ignore[misc]
    """The handler that tells axes how many failed attempts a request has."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Return the failures of this username from this network, or at least the limit if another limit applies."""
        name, network = get_client_username(request, credentials), _network(request)
        now = timezone.now()
        recent = AccessAttempt.objects.filter(ip_address=network, attempt_time__gt=now - WINDOW)
        of_pair = _sum(recent.filter(username=name))
        waits = (network is not None and _sum(recent) >= MOST_OF_NETWORK) or _waits_for_name(name, network, now)
        most: int = get_failure_limit(request, credentials)
        return max(of_pair, most) if waits else of_pair

    def reset_user_attempts(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Delete the attempts for a username from the network of this sign-in, and return how many there were."""
        name = get_client_username(request, credentials)
        number: int = AccessAttempt.objects.filter(username=name, ip_address=_network(request)).delete()[0]
        return number


def _waits_for_name(name: str | None, network: str | None, now: datetime) -> bool:
    """Return whether a username is locked for unknown networks; each attempt above the limit doubles the wait."""
    attempts = AccessAttempt.objects.filter(username=name, attempt_time__gt=now - MEMORY)
    totals = attempts.aggregate(number=Sum("failures_since_start"), last=Max("attempt_time"))
    excess = (totals["number"] or 0) - MOST_OF_NAME
    if excess < 0:
        return False
    wait = min(FIRST_WAIT * 2 ** min(excess, 20), WINDOW)
    return bool(now < totals["last"] + wait) and not _is_known(name, network)


def _is_known(name: str | None, network: str | None) -> bool:
    """Return whether a username has signed in from a network before."""
    return network is not None and AccessLog.objects.filter(username=name, ip_address=network).exists()


def _network(request: HttpRequest) -> str | None:
    network: str | None = getattr(request, "axes_ip_address", None)
    return network


def _sum(attempts: Any) -> int:
    return int(attempts.aggregate(number=Sum("failures_since_start"))["number"] or 0)
