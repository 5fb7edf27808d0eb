"""The guide's stores of preferences: the same behaviour over memory, files and SQL."""

from __future__ import annotations

from pathlib import Path

from luna.domain import DOMAIN
from luna.preferences import Preferences
from orbsite.storage.memory.store import MemoryStore
from orbsite.stores import open_file_store, open_sql_store, open_store


class InMemoryLunaPreferencesStore(Preferences):
    """Keeps preferences in memory, each instance its own."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(DOMAIN))


class FileLunaPreferencesStore(Preferences):
    """Keeps preferences in `luna/profiles.json` under a data directory, the configured one by default."""

    def __init__(self, data_dir: Path | None = None) -> None:
        super().__init__(open_file_store(DOMAIN, data_dir))


class SqlLunaPreferencesStore(Preferences):
    """Keeps preferences in the configured database. Raises StoreUnavailable."""

    def __init__(self) -> None:
        super().__init__(open_sql_store(DOMAIN))


def create_default_luna_store() -> Preferences:
    """Return the store that ORB_PERSISTENCE asks for. Raises StoreUnavailable, and never falls back to another."""
    return Preferences(open_store(DOMAIN))
