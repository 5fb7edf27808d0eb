"""An alert of the dashboard, with its button and its links."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, TypeAlias

from django.utils.timesince import timesince

from orbsite.operations.monitoring.console_pages import address_of
from orbsite.operations.monitoring.snapshot import DashboardSnapshot

AT_ONCE: dict[str, tuple[str, dict[str, Any]]] = {
    "back-up": ("backup", {"label": "from the dashboard"}),
    "check": ("check", {}),
    "compare": ("verify", {}),
    "count": ("measure", {}),
    "maintain": ("maintain", {}),
    "trust-the-clock": ("maintain", {"trust_clock": True}),
}
"""The operation and the arguments that each button starts, by the button's name.

Buttons start without a form, so none of them removes records except by a retention policy.
"""

May: TypeAlias = Callable[[str], bool]
"""A function that returns whether the user may start an operation."""


class Severity(StrEnum):
    """The severity of an alert, in descending order."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Link:
    """A link to a page that helps to resolve an alert."""

    label: str
    make: Callable[[], str]
    """Makes the address, where a page needs it: a command has no pages."""

    @property
    def address(self) -> str:
        """The address of the page."""
        return self.make()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One problem that needs attention."""

    name: str
    severity: Severity
    title: str
    text: str
    """What the problem means, and what to do next."""
    button: str = ""
    """The label of the button; empty if the user may not start its operation."""
    starts: str = ""
    """The name of the button in `AT_ONCE`."""
    links: list[Link] = field(default_factory=list)


Rule: TypeAlias = Callable[[DashboardSnapshot, May], Iterator[Alert]]


def form(may: May, name: str, label: str, **arguments: Any) -> list[Link]:
    """Return a link to an operation's form with its arguments filled in, or no link if the user may not start it."""
    return [Link(label, partial(address_of, name, arguments))] if may(name) else []


def at_once(may: May, name: str, label: str) -> dict[str, Any]:
    """Return the button fields of an `Alert`, or none if the user may not start the button's operation."""
    return {"button": label, "starts": name} if may(AT_ONCE[name][0]) else {}


def ago(snapshot: DashboardSnapshot, moment: datetime) -> str:
    """Return the time since a moment in the largest unit, such as `3 days`."""
    return timesince(moment, snapshot.now, depth=1)
