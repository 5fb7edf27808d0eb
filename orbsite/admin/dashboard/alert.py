"""One thing that needs attention, and the ways to what helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from django.utils.timesince import timesince

from orbsite.admin.dashboard.snapshot import DashboardSnapshot
from orbsite.admin.jobs.views import address_of
from orbsite.operations.jobs import catalog

AT_ONCE: dict[str, tuple[str, dict[str, Any]]] = {
    "back-up": ("backup", {"label": "from the dashboard"}),
    "check": ("check", {}),
    "compare": ("verify", {}),
    "count": ("measure", {}),
    "maintain": ("maintain", {}),
    "trust-the-clock": ("maintain", {"trust_clock": True}),
}
"""What a button starts, by the button's name: an operation and its arguments. None removes what no policy has named."""

May: TypeAlias = Callable[[str], bool]
"""Tells whether somebody may start an operation."""


class Severity(StrEnum):
    """How bad it is, the worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Link:
    """A page that helps."""

    label: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing that needs attention."""

    name: str
    severity: Severity
    title: str
    text: str
    """What it means, and what to do."""
    button: str = ""
    """The label of a button; none for those who may not start what it starts."""
    starts: str = ""
    """The button's name."""
    links: list[Link] = field(default_factory=list)


Rule: TypeAlias = Callable[[DashboardSnapshot, May], Iterator[Alert]]


def form(may: May, name: str, label: str, **arguments: Any) -> list[Link]:
    """Return a link to an operation's form, filled in; none for those who may not start it."""
    return [Link(label, address_of(name, arguments))] if name in catalog.OPERATIONS and may(name) else []


def at_once(may: May, name: str, label: str) -> dict[str, Any]:
    """Return the button of a name, for those who may start what it starts."""
    return {"button": label, "starts": name} if may(AT_ONCE[name][0]) else {}


def ago(snapshot: DashboardSnapshot, moment: datetime) -> str:
    """Return how long ago a moment was."""
    return timesince(moment, snapshot.now, depth=1)
