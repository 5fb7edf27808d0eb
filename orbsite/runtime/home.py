"""Where the project keeps its settings, its data and its SQLite database.

ORB_HOME names one directory for all of them. Without it, a checkout keeps them beside `manage.py`, and an installed
package where the platform has a user's files: on Linux `~/.config/orb` and `~/.local/share/orb`, which XDG_CONFIG_HOME
and XDG_DATA_HOME move, on macOS `~/Library/Application Support/orb`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from orbsite.runtime.environment import path_setting

VARIABLE = "ORB_HOME"
_NAME = "orb"
_PARENT = Path(__file__).resolve().parents[2]
"""The directory that has the package: a checkout, or the site-packages of an environment."""


@dataclass(frozen=True, slots=True)
class Home:
    """The directory of the settings file `.env`, and the one of data, backups and database, to which paths relate."""

    settings: Path
    data: Path


def find_home() -> Home:
    """Return the home of this process; its directories may not exist yet. Raises ImproperlyConfigured."""
    if chosen := os.environ.get(VARIABLE):
        place = path_setting(VARIABLE, chosen, Path.cwd())
        return Home(place, place)
    if is_checkout():
        return Home(_PARENT, _PARENT)
    if sys.platform == "darwin":
        place = _directory("", "Library/Application Support")
        return Home(place, place)
    return Home(_directory("XDG_CONFIG_HOME", ".config"), _directory("XDG_DATA_HOME", ".local/share"))


def is_checkout() -> bool:
    """Tell whether the package is in a checkout of the project, and not installed."""
    return (_PARENT / "manage.py").is_file() and (_PARENT / "pyproject.toml").is_file()


def program() -> str:
    """Return the program that runs commands: `orb` for an installed package with our settings, else `manage.py`."""
    settings = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    has_own = bool(settings) and not settings.startswith("orbsite.")
    return "manage.py" if has_own or is_checkout() else "orb"


def _directory(variable: str, usual: str) -> Path:
    """Return our directory in the one that a variable names. A relative path there counts as unset, as XDG demands."""
    named = Path(os.environ.get(variable, ""))
    return (named if named.is_absolute() else path_setting("HOME", f"~/{usual}", Path.cwd())) / _NAME
