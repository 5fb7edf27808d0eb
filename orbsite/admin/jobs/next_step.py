"""What to do after an operation has ended, with a link to the page for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.urls import reverse

from orbsite.admin.base.permissions import may, may_see
from orbsite.conf import app_settings
from orbsite.conf.app_settings import Persistence
from orbsite.models.ledger import Reject
from orbsite.operations.jobs import catalog
from orbsite.operations.monitoring.console_pages import address_of

Totals: TypeAlias = Mapping[str, int]
"""The number of records by outcome."""

_DIFFERENT = ("differ", "missing", "extra", "rejected")


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next; without an address where there is no page for it, or none that the user may open."""

    text: str
    label: str = ""
    address: str = ""


def after(operation: str, totals: Totals, user: Any) -> Step:
    """Return the step that follows an operation that is complete."""
    follow = _FOLLOWING.get(operation)
    return (
        Step("Nothing is left to do.", "Dashboard", reverse("admin:index")) if follow is None else follow(totals, user)
    )


def to_form(user: Any, text: str, operation: str, label: str) -> Step:
    """Return a step with a link to the form of an operation, if the user may start it."""
    if operation not in catalog.OPERATIONS or not may(user, operation):
        return Step(text)
    return Step(text, label, address_of(operation, {}))


def _migrated(totals: Totals, user: Any) -> Step:
    if totals.get("rejected") and may_see(user, Reject):
        address = f"{reverse('admin:orbsite_reject_changelist')}?settled_by__isempty=1"
        return Step("Correct what was rejected, then migrate again.", "Show the rejects", address)
    return to_form(user, "Compare the files with SQL before you switch to SQL.", "verify", "Verify…")


def _verified(totals: Totals, user: Any) -> Step:
    if any(totals.get(what) for what in _DIFFERENT):
        return to_form(user, "Files and SQL differ. Migrate what is missing, then verify again.", "migrate", "Migrate…")
    text = "Files and SQL are equal, and SQL is in use. Nothing is left to do."
    if app_settings.persistence() is not Persistence.SQL:
        text = "Files and SQL are equal. Stop the earlier system, set ORB_PERSISTENCE=sql, and restart the server."
    return Step(text, "Dashboard", reverse("admin:index"))


def _rolled_back(_: Totals, user: Any) -> Step:
    return to_form(user, "Correct what was wrong, then migrate again.", "migrate", "Migrate…")


_FOLLOWING: dict[str, Callable[[Totals, Any], Step]] = {
    "migrate": _migrated,
    "verify": _verified,
    "rollback": _rolled_back,
}
