"""The room on the disk that holds the data directory."""

from __future__ import annotations

import shutil
from pathlib import Path

from orbsite.conf import app_settings


def free_bytes() -> int:
    """Return the room on the disk that the files are on, or will be."""
    place: Path = app_settings.data_directory().absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
