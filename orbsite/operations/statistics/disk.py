"""The free space on the disk of the data directory."""

from __future__ import annotations

import shutil
from pathlib import Path

from orbsite.conf import app_settings


def free_bytes() -> int:
    """Return the free bytes on the disk that the data directory is on, or will be on."""
    place: Path = app_settings.data_directory().absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
