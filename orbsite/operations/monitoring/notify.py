"""Tells of alerts by the configured channels: once when one begins, and once when it ends, on however many hosts.

A message that cannot be sent is tried again, later each time. Nothing here makes maintenance fail.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import Q

from orbsite.models.notifications import Notification
from orbsite.operations.monitoring.alert import Alert, Severity
from orbsite.operations.monitoring.alerts import alerts
from orbsite.operations.monitoring.channels import Channel, Message, NotSent, channels
from orbsite.operations.monitoring.snapshot import look
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.errors import OrbError

logger = logging.getLogger(__name__)

BETWEEN_LOOKS = timedelta(minutes=5)
"""The least time between two looks for alerts, which read small files."""
CLAIM = timedelta(minutes=5)
"""How long a host has to send a message before another one tries."""
LONGEST = timedelta(hours=6)
KEPT = timedelta(days=30)
MOST_SENT = 20
"""The number of messages of one round."""
_TOLD = (Severity.ERROR, Severity.WARNING)
_NAMED = re.compile(r"“[^”]*”")
_looked: list[datetime] = []


def notify(now: Callable[[], datetime]) -> int:
    """Send what is due, and return the number of messages that were sent; 0 without a channel.

    Errors are logged. Notes are not told.
    """
    try:
        ways = channels()
        if not ways:
            return 0
        moment = now()
        if not _looked or not timedelta() <= moment - _looked[0] < BETWEEN_LOOKS:
            note(alerts(look(lambda _: True, moment), lambda _: False), ways, moment)
            _looked[:] = [moment]
        return send_due(ways, now)
    except (OrbError, DatabaseError, OSError, ImproperlyConfigured) as problem:
        logger.warning("no alert was told of this time: %s", type(problem).__name__)
        return 0


def note(found: Iterable[Alert], ways: Sequence[Channel], now: datetime) -> None:
    """Save which alerts have begun and which have ended, and delete what was told long ago."""
    current = {alert.name: alert for alert in found if alert.severity in _TOLD}
    Notification.objects.filter(ended_at=None).exclude(alert__in=list(current)).update(ended_at=now, next_try=now)
    known = set(Notification.objects.filter(ended_at=None).values_list("alert", "channel"))
    for alert in current.values():
        for way in ways:
            if (alert.name, way.name) not in known:
                _begin(alert, way, now)
    Notification.objects.filter(end_sent_at__lt=now - KEPT).delete()
    Notification.objects.filter(ended_at__lt=now - KEPT).delete()  # of a channel that is no longer there


def send_due(ways: Sequence[Channel], now: Callable[[], datetime]) -> int:
    """Send the messages that are due, and return how many were sent."""
    sent = 0
    for way in ways:
        waiting = Notification.objects.filter(_is_open(), channel=way.name, next_try__lte=now())
        for one in waiting.order_by("id")[:MOST_SENT]:
            sent += _send(one, way, now)
    return sent


def _is_open() -> Q:
    return Q(begin_sent_at=None) | Q(ended_at__isnull=False, end_sent_at=None)


def _begin(alert: Alert, way: Channel, now: datetime) -> None:
    try:
        with transaction.atomic():
            Notification.objects.create(
                alert=alert.name[:200],
                channel=way.name,
                severity=alert.severity.value,
                title=_NAMED.sub("…", alert.title)[:300],
                began_at=now,
                next_try=now,
            )
    except IntegrityError:
        logger.debug("another host has noted the alert %s", alert.name)


def _send(one: Notification, way: Channel, now: Callable[[], datetime]) -> bool:
    """Send the next message about an alert, unless another host has claimed it; return whether it was sent."""
    claimed = Notification.objects.filter(pk=one.pk, next_try=one.next_try)
    if not claimed.update(next_try=now() + CLAIM):
        return False
    begins = one.begin_sent_at is None
    moment = one.began_at if begins or one.ended_at is None else one.ended_at
    event = "began" if begins else "ended"
    message = Message(event=event, alert=one.alert, severity=one.severity, title=one.title, at=spell(moment))
    rows = Notification.objects.filter(pk=one.pk)
    try:
        way.send(message)
    except NotSent as problem:
        logger.warning("the alert %s was not told of by %s: %s", one.alert, way.name, problem)
        rows.update(tries=one.tries + 1, next_try=now() + min(timedelta(minutes=2 ** min(one.tries, 10)), LONGEST))
        return False
    done = now()
    rows.update(tries=0, next_try=done, **{"begin_sent_at" if begins else "end_sent_at": done})
    return True
