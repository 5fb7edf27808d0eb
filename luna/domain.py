"""Registers the domain of Luna: its records, its data file, its tables and its statistics."""

from __future__ import annotations

from pathlib import PurePosixPath

from luna.layout import ProfilesLayout
from luna.models import ActiveModeRow, ProfileRow
from luna.records import ActiveMode, Profile
from luna.versions import VERSIONS
from orbsite.storage.records.domain import Domain, register

DOMAIN = register(
    Domain(
        name="luna",
        file=PurePosixPath("luna/profiles.json"),
        layout=ProfilesLayout(),
        models={Profile: ProfileRow, ActiveMode: ActiveModeRow},
        facets={"users": (Profile, "user_id"), "modes": (Profile, "mode_id")},
        tallies={"by_mode": (Profile, "mode_id"), "by_active_mode": (ActiveMode, "mode_id")},
        versions=VERSIONS,
    )
)
