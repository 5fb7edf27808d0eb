"""What needs attention, the worst first: each with what it means, and the button or the page that mends it."""

from __future__ import annotations

from orbsite.admin.dashboard import keeping, working
from orbsite.admin.dashboard.alert import Concern, May, Weight
from orbsite.admin.dashboard.snapshot import Scene


def concerns(scene: Scene, may: May) -> list[Concern]:
    """Return what needs attention; `may` tells which operations the person may start."""
    found = [concern for rule in (*keeping.RULES, *working.RULES) for concern in rule(scene, may)]
    return sorted(found, key=lambda one: list(Weight).index(one.weight))
