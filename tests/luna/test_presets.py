from __future__ import annotations

import json
from pathlib import Path

from luna.presets import new_profile, presets
from tests.support.factories import BEGIN


def test_new_profiles_are_those_that_the_earlier_system_made(sample: Path) -> None:
    tree = json.loads((sample / "luna/profiles.json").read_text())
    profile = tree["ana-0"]["profiles"]["mars"]
    made = new_profile("ana-0", "mars", BEGIN).as_json()
    assert made | {"updatedAt": profile["updatedAt"]} == profile


def test_there_are_nine_modes_and_none_starts_empty() -> None:
    assert sorted(presets()) == [
        "builder",
        "default",
        "earth",
        "explorer",
        "forge",
        "mars",
        "real_estate",
        "restaurant",
        "sol",
    ]
    assert all(preset.preferences and preset.constraints for preset in presets().values())
