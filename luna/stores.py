"""The preference stores of the guide, with the same behaviour in memory, in files and in SQL."""

from __future__ import annotations

from pathlib import Path

from luna.domain import DOMAIN
from luna.preferences import Preferences
from orbsite.storage.memory.store import MemoryStore
from orbsite.stores import open_file_store, open_sql_store, open_store


class InMemoryLunaPreferencesStore(Preferences):
    """Stores preferences in memory, separately for each instance."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(DOMAIN))


class FileLunaPreferencesStore(Preferences):
    """Stores preferences in `luna/profiles.json` in a data directory, by default the configured one."""

    def __init__(self, data_dir: Path | None = None) -> None:
        super().__init__(open_file_store(DOMAIN, data_dir))


class SqlLunaPreferencesStore(Preferences):
    """Stores preferences in a configured database. Raises StoreUnavailable."""

    def __init__(self, using: str = "default") -> None:
        super().__init__(open_sql_store(DOMAIN, using))


def create_default_luna_store() -> Preferences:
    """Return the store that ORB_PERSISTENCE selects. Raises StoreUnavailable; it never falls back to another store."""
    return Preferences(open_store(DOMAIN))
