"""What a new profile starts with, mode by mode, as in the earlier system."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

from luna.records import Constraint, Profile

_FILE = Path(__file__).with_name("mode_presets.json")


@dataclass(frozen=True, slots=True)
class Preset:
    """A mode's defaults."""

    label: str
    preferences: tuple[str, ...]
    constraints: tuple[str, ...]


@cache
def presets() -> dict[str, Preset]:
    """Return the presets of all modes by the mode's id; an empty list of defaults stands filled in."""
    content = json.loads(_FILE.read_text("utf-8"))
    fallback = content["fallback"]
    return {
        mode: Preset(
            label=preset["label"],
            preferences=tuple(preset["default_preferences"] or fallback["default_preferences"]),
            constraints=tuple(preset["default_constraints"] or fallback["default_constraints"]),
        )
        for mode, preset in content["modes"].items()
    }


def new_profile(user_id: str, mode_id: str, moment: datetime) -> Profile:
    """Return the profile that a user starts with in a mode; an unknown mode starts as `default` does."""
    preset = presets().get(mode_id) or presets()["default"]
    constraints = tuple(
        Constraint(id=f"constraint-{mode_id}-{index}", type="other", active=True, description=description)
        for index, description in enumerate(preset.constraints)
    )
    return Profile(
        user_id=user_id, mode_id=mode_id, preferences=preset.preferences, constraints=constraints, updated_at=moment
    )
