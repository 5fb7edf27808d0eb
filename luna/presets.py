"""The presets of the modes: the initial preferences and constraints of new profiles, as in the earlier system."""

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
    """The label and the defaults of a mode."""

    label: str
    preferences: tuple[str, ...]
    constraints: tuple[str, ...]


@cache
def presets() -> dict[str, Preset]:
    """Return the presets of all modes by mode id. Empty lists of defaults are replaced by the fallback."""
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
    """Return a new profile with the preset of a mode. An unknown mode uses the preset of `default`."""
    preset = presets().get(mode_id) or presets()["default"]
    constraints = tuple(
        Constraint(id=f"constraint-{mode_id}-{index}", type="other", active=True, description=description)
        for index, description in enumerate(preset.constraints)
    )
    return Profile(
        user_id=user_id, mode_id=mode_id, preferences=preset.preferences, constraints=constraints, updated_at=moment
    )
