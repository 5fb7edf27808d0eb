"""What a list without rows says: why it is empty, and what to do first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orbsite.admin.base.permissions import may
from orbsite.operations.monitoring.console_pages import address_of

_NO_RECORDS = "Migrate the files of an earlier system, or let a program save the first ones."
_FIRST: dict[str, tuple[str, str, str]] = {
    "te.reflectionrow": (f"There are no reflections yet. {_NO_RECORDS}", "migrate", "Migrate…"),
    "luna.profilerow": (f"There are no profiles yet. {_NO_RECORDS}", "migrate", "Migrate…"),
    "luna.activemoderow": (f"No user has an active mode yet. {_NO_RECORDS}", "migrate", "Migrate…"),
    "orbsite.job": ("No operation was started here yet.", "migrate", "Migrate…"),
    "orbsite.run": ("No operation has written anything yet.", "migrate", "Migrate…"),
    "orbsite.change": ("No run has replaced or removed a record.", "", ""),
    "orbsite.reject": (
        "No record was rejected. A validation lists the problems of the files.",
        "validate",
        "Validate…",
    ),
    "orbsite.bulkmigration": (
        "No bulk migration was begun. migrate_orb_files --each DIR begins one.",
        "",
        "",
    ),
    "orbsite.bulkdirectory": ("No bulk migration was begun, which would list its data directories here.", "", ""),
    "orbsite.growth": (
        "There are no statistics yet. Maintenance saves them once a day.",
        "maintain",
        "Run maintenance…",
    ),
    "orbsite.policyrun": ("No policy was applied yet. Maintenance applies them.", "maintain", "Run maintenance…"),
    "orbsite.retentionpolicy": (
        "There is no policy, so all records are kept. Add a policy to remove old ones.",
        "",
        "",
    ),
    "orbsite.token": ("No program may use the API yet. Add a token for one.", "", ""),
    "orbsite.event": ("Nothing was noted yet.", "", ""),
}
"""The text, the operation that comes first, and the label of its link, by the label of the model."""


@dataclass(frozen=True, slots=True)
class EmptyState:
    """What the list of a model says without rows; without an address where there is no operation to start."""

    model: str
    text: str
    label: str = ""
    address: str = ""


def empty_states(user: Any) -> list[EmptyState]:
    """Return what lists say without rows, with links to the operations that the user may start."""
    return [
        EmptyState(model, text, label, address_of(operation, {}))
        if operation and may(user, operation)
        else EmptyState(model, text)
        for model, (text, operation, label) in _FIRST.items()
    ]
