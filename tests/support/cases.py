"""The kinds of records that the contract suite tries here: those that it exports, and one of a third domain."""

from __future__ import annotations

from orbsite.testing.cases import CASES as EXPORTED
from orbsite.testing.cases import Case, held, maker, moment
from tests.mav.domain import DOMAIN as MAV
from tests.mav.records import Action

__all__ = ["CASES", "Case", "held"]

CASES = [
    *EXPORTED,
    Case(
        MAV,
        Action,
        maker(
            Action,
            lambda n: {"id": f"action-{n:04}", "user_id": "ana", "title": f"title {n}", "done_at": moment(n)},
        ),
        "title",
        ("one", "two"),
        lambda tree: {(name,): item["title"] for items in tree.values() for name, item in items.items()},
    ),
]
