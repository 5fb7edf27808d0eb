"""The default of each setting of ours, which a Django project that includes our apps may leave out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from orbsite.runtime.home import find_home

DEFAULTS: dict[str, Any] = {
    "ORB_PERSISTENCE": "sql",
    "ORB_SQL_ENGINE": "",
    "ORB_DATA_DIR": ".orb-data",
    "ORB_BACKUP_DIR": ".orb-backups",
    "ORB_BACKUP_KEY": "",
    "ORB_BACKUP_REQUIRE_SIGNATURE": False,
    "ORB_COMPRESSION": "none",
    "ORB_KEYS": "",
    "ORB_KEY_FILE": "",
    "ORB_KEY_PROVIDER": "",
    "ORB_JOURNAL": "",
    "ORB_KEEP_BACKUPS_DAYS": "",
    "ORB_KEEP_EXPORTS_DAYS": "30",
    "ORB_TOKEN_MAX_OPEN_JOBS": "20",
    "ORB_TOKEN_MAX_JOBS_PER_DAY": "1000",
    "ORB_TOKEN_MAX_BYTES": str(10 * 1024**3),
    "ORB_UNDO_DAYS": 30,
    "ORB_ALLOW_NETWORK_FS": False,
    "ORB_API_RATE": "1000/10s",
    "ORB_USAGE_SECONDS": 60,
    "ORB_API_MAX_BYTES": 10 * 1024 * 1024,
    "ORB_API_MAX_VALUES": 200_000,
    "ORB_API_MAX_ITEMS": 1_000,
    "ORB_API_PAGE_BYTES": 16 * 1024 * 1024,
    "ORB_MAX_UPLOAD_BYTES": 256 * 1024 * 1024,
    "ORB_API_REQUIRE_IF_MATCH": False,
    "ORB_MIN_FREE_BYTES": 100 * 1024 * 1024,
    "ORB_MAX_JOURNAL_BYTES": 1024 * 1024 * 1024,
    "ORB_ADMIN_2FA": False,
    "ORB_NOTIFY_EMAILS": "",
    "ORB_NOTIFY_WEBHOOK": "",
    "ORB_NOTIFY_WEBHOOK_KEY": "",
}
"""The defaults by name. Paths are relative to the home; ORB_PERSISTENCE depends on DATABASE_URL in our own settings."""
PATHS = ("ORB_DATA_DIR", "ORB_BACKUP_DIR")


def fill_in() -> None:
    """Give each setting of ours that the project leaves out its default, with paths beside the project's BASE_DIR.

    A project without BASE_DIR has them in the home of this package.
    """
    for name, value in DEFAULTS.items():
        if not hasattr(settings, name):
            setattr(settings, name, _base() / value if name in PATHS else value)


def _base() -> Path:
    named = getattr(settings, "BASE_DIR", None)
    return find_home().data if named is None else Path(named)
