"""The keyboard shortcuts that lead to pages, for the pages that a user may open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

_LETTERS = {
    "reflectionrow": "r",
    "profilerow": "p",
    "removed": "x",
    "operations": "o",
    "job": "j",
    "run": "u",
    "trends": "t",
    "retentionpolicy": "y",
    "event": "a",
}
"""The letter after `g` for a page, by the name of its model or of its view."""


@dataclass(frozen=True, slots=True)
class Shortcut:
    """The letter after `g` that leads to a page."""

    letter: str
    title: str
    address: str


def shortcuts(sections: Sequence[dict[str, Any]]) -> list[Shortcut]:
    """Return the shortcuts to the dashboard and to those pages in the sections of the menu that have a letter."""
    found = [Shortcut("d", "Dashboard", reverse("admin:index"))]
    for model in (model for section in sections for model in section["models"]):
        letter = _LETTERS.get(str(model["object_name"]).lower())
        if letter and model["admin_url"]:
            found.append(Shortcut(letter, str(model["name"]), model["admin_url"]))
    return found
