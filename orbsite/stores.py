"""Opens the store or document that the settings ask for: the one place where they meet the kernel."""

from __future__ import annotations

from pathlib import Path

from django.db import DatabaseError, connections

from orbsite import conf
from orbsite.conf import Persistence
from orbsite.models import Run
from orbsite.storage.document import Document
from orbsite.storage.domain import Domain
from orbsite.storage.errors import StoreUnavailable
from orbsite.storage.file import FileStore
from orbsite.storage.memory import MemoryStore
from orbsite.storage.sql import SqlStore
from orbsite.storage.store import Store

_of_this_process: dict[str, MemoryStore] = {}


def open_store(domain: Domain) -> Store:
    """Return the store that the settings ask for, never another one. Raises StoreUnavailable."""
    match conf.persistence():
        case Persistence.MEMORY:
            return _of_this_process.setdefault(domain.name, MemoryStore(domain))
        case Persistence.FILE:
            return open_file_store(domain)
        case Persistence.SQL:
            return open_sql_store(domain)


def open_document(domain: Domain, base: Path | None = None) -> Document:
    """Return a domain's document under a data directory, the configured one by default."""
    return Document(base or conf.data_directory(), domain.file)


def open_file_store(domain: Domain, base: Path | None = None) -> FileStore:
    """Return the store over a domain's document."""
    return FileStore(domain, open_document(domain, base))


def open_sql_store(domain: Domain, using: str = "default") -> SqlStore:
    """Return the store over a domain's tables. Raises StoreUnavailable where database or tables cannot be reached."""
    connection = connections[using]
    what = f"the {connection.vendor} database {connection.settings_dict['NAME']}"
    try:
        tables = connection.introspection.table_names()
    except DatabaseError as problem:
        raise StoreUnavailable(
            f"{what} cannot be reached: {problem}; check DATABASE_URL, and that it runs"
        ) from problem
    missing = sorted({model._meta.db_table for model in (Run, *domain.models.values())} - set(tables))
    if missing:
        raise StoreUnavailable(f"{what} has no table {', '.join(missing)}; run: manage.py migrate")
    return SqlStore(domain, using)
