"""orb init: make a home, with settings for a server on this host."""

from __future__ import annotations

import os
import secrets
import shlex
from pathlib import Path

from orbsite.runtime.home import VARIABLE, find_home

_SETTINGS = """\
# Settings of orb-persistence. docs/reference/settings.md lists all of them.
SECRET_KEY={key}
ORB_PERSISTENCE=sql
ALLOWED_HOSTS=localhost,127.0.0.1
# For this host alone. In production, set DATABASE_URL to a PostgreSQL database, and remove both lines.
ORB_ALLOW_SQLITE=true
ORB_HTTPS=false
"""


def make_home() -> str:
    """Make the directories and the settings of the home, keep what exists, and return what to tell the user."""
    home = find_home()
    for place in (home.settings, home.data):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home.settings / ".env"
    is_new = _write_new(path, _SETTINGS.format(key=secrets.token_urlsafe(48)))
    orb = f"orb --home {shlex.quote(str(home.data))}" if VARIABLE in os.environ else "orb"
    return (
        f"The settings are in {path}{'' if is_new else ', which existed and was not changed'}.\n"
        f"Data and database are in {home.data}.\n"
        f"Next: {orb} ensure_orb_admin, then {orb} serve\n"
    )


def _write_new(path: Path, text: str) -> bool:
    """Write a private file, unless it exists; return whether it was written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return True
