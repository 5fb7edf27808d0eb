"""The reflection stores of the guide, with the same behaviour in memory, in files and in SQL."""

from __future__ import annotations

from pathlib import Path

from orbsite.storage.memory.store import MemoryStore
from orbsite.stores import open_file_store, open_sql_store, open_store
from te.domain import DOMAIN
from te.reflection_log import ReflectionLog


class InMemoryTeReflectionStore(ReflectionLog):
    """Stores reflections in memory, separately for each instance."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(DOMAIN))


class FileTeReflectionStore(ReflectionLog):
    """Stores reflections in `te/reflections.json` in a data directory, by default the configured one."""

    def __init__(self, data_dir: Path | None = None) -> None:
        super().__init__(open_file_store(DOMAIN, data_dir))


class SqlTeReflectionStore(ReflectionLog):
    """Stores reflections in a configured database. Raises StoreUnavailable."""

    def __init__(self, using: str = "default") -> None:
        super().__init__(open_sql_store(DOMAIN, using))


def create_default_te_store() -> ReflectionLog:
    """Return the store that ORB_PERSISTENCE selects. Raises StoreUnavailable; it never falls back to another store."""
    return ReflectionLog(open_store(DOMAIN))
