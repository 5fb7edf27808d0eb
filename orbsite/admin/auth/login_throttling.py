"""Who guesses passwords waits: counted by name and network, by network over all names, and by name over all networks.

A network is an IPv4 address, or the /64 of an IPv6 address, which one client has to itself. Every wait ends, whatever
strangers send: guesses that are refused meanwhile are not counted. What is guessed from other networks never concerns a
network from which the same name has signed in before. Answers do not depend on whether there is such a user.
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
"""How long a network waits after its last guess that was counted."""
MEMORY = timedelta(hours=24)
"""How long guesses of one name are added up; AXES_COOLOFF_TIME, after which axes forgets them."""
MOST_OF_NETWORK = 20
"""Wrong passwords of one network, whatever the names."""
MOST_OF_NAME = 30
"""Wrong passwords of one name, wherever they come from, until strangers wait for it."""
FIRST_WAIT = timedelta(seconds=15)


class Handler(AxesDatabaseHandler):  # type: ignore[misc]
    """Counts for axes."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Return how many guesses of this name there were from this network, or enough of them where it has to wait."""
        name, network = get_client_username(request, credentials), _network(request)
        now = timezone.now()
        recent = AccessAttempt.objects.filter(ip_address=network, attempt_time__gt=now - WINDOW)
        of_pair = _sum(recent.filter(username=name))
        waits = (network is not None and _sum(recent) >= MOST_OF_NETWORK) or _waits_for_name(name, network, now)
        most: int = get_failure_limit(request, credentials)
        return max(of_pair, most) if waits else of_pair

    def reset_user_attempts(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Forget the guesses of a name from the network that it has just signed in from, and no others."""
        name = get_client_username(request, credentials)
        number: int = AccessAttempt.objects.filter(username=name, ip_address=_network(request)).delete()[0]
        return number


def _waits_for_name(name: str | None, network: str | None, now: datetime) -> bool:
    """Tell whether strangers wait for a name: each guess past the limit doubles the wait, up to WINDOW."""
    guesses = AccessAttempt.objects.filter(username=name, attempt_time__gt=now - MEMORY)
    told = guesses.aggregate(number=Sum("failures_since_start"), last=Max("attempt_time"))
    excess = (told["number"] or 0) - MOST_OF_NAME
    if excess < 0:
        return False
    wait = min(FIRST_WAIT * 2 ** min(excess, 20), WINDOW)
    return bool(now < told["last"] + wait) and not _is_known(name, network)


def _is_known(name: str | None, network: str | None) -> bool:
    """Tell whether a name has signed in from a network before."""
    return network is not None and AccessLog.objects.filter(username=name, ip_address=network).exists()


def _network(request: HttpRequest) -> str | None:
    network: str | None = getattr(request, "axes_ip_address", None)
    return network


def _sum(attempts: Any) -> int:
    return int(attempts.aggregate(number=Sum("failures_since_start"))["number"] or 0)
