"""The guide's stores of reflections: the same behaviour over memory, files and SQL."""

from __future__ import annotations

from pathlib import Path

from orbsite.storage.memory.store import MemoryStore
from orbsite.stores import open_file_store, open_sql_store, open_store
from te.domain import DOMAIN
from te.reflection_log import ReflectionLog


class InMemoryTeReflectionStore(ReflectionLog):
    """Keeps reflections in memory, each instance its own."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(DOMAIN))


class FileTeReflectionStore(ReflectionLog):
    """Keeps reflections in `te/reflections.json` under a data directory, the configured one by default."""

    def __init__(self, data_dir: Path | None = None) -> None:
        super().__init__(open_file_store(DOMAIN, data_dir))


class SqlTeReflectionStore(ReflectionLog):
    """Keeps reflections in the configured database. Raises StoreUnavailable."""

    def __init__(self) -> None:
        super().__init__(open_sql_store(DOMAIN))


def create_default_te_store() -> ReflectionLog:
    """Return the store that ORB_PERSISTENCE asks for. Raises StoreUnavailable, and never falls back to another."""
    return ReflectionLog(open_store(DOMAIN))
