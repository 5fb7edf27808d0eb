"""Opens the stores that the settings select. Only this module connects settings and storage."""

from __future__ import annotations

import atexit
import logging
from pathlib import Path

from django.db import DatabaseError, connections

from orbsite.conf import app_settings
from orbsite.conf.app_settings import Persistence
from orbsite.models.ledger import Change, Reject, Run
from orbsite.models.user_keys import UserKey
from orbsite.runtime.home import program
from orbsite.storage.base.store import Store
from orbsite.storage.database_errors import explained, place_of
from orbsite.storage.errors import OrbError, StoreUnavailable
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.postgresql.replicas import reading_from
from orbsite.storage.records.domain import Domain, registered
from orbsite.storage.records.sealed_columns import refuse_plain_writer
from orbsite.storage.sealing.envelope import Packing
from orbsite.storage.sql.store import SqlStore

logger = logging.getLogger(__name__)

_of_this_process: dict[str, MemoryStore] = {}
_files: dict[tuple[object, ...], FileStore] = {}


def open_store(domain: Domain) -> Store:
    """Return the store that the settings select, and never another one. Raises StoreUnavailable.

    Within `read_from_replica` it is the store over the tables of the chosen replica, which is only to be read.
    """
    match app_settings.persistence():
        case Persistence.MEMORY:
            return _of_this_process.setdefault(domain.name, MemoryStore(domain))
        case Persistence.FILE:
            return open_file_store(domain)
        case Persistence.SQL:
            return open_sql_store(domain, reading_from() or "default")


def memory_stores() -> list[MemoryStore]:
    """Return the stores in the memory of this process."""
    return list(_of_this_process.values())


def store_named(kind: str, name: str) -> Store:
    """Return the store of a kind, "sql" or "file", over the named domain. Raises OrbError."""
    domain = next((one for one in registered() if one.name == name), None)
    if domain is None:
        raise OrbError(f"there is no domain {name!r}; its app is no longer in INSTALLED_APPS")
    return open_file_store(domain) if kind == Persistence.FILE else open_sql_store(domain)


def open_file_store(domain: Domain, base: Path | None = None) -> FileStore:
    """Return this process's store over a domain's document, under the configured data directory by default."""
    base = (base or app_settings.data_directory()).absolute()
    key = (
        domain.name, base, app_settings.journal_above(), app_settings.allow_network_fs(), app_settings.packing(),
    )  # fmt: skip
    found = _files.get(key)
    return found or _files.setdefault(key, file_store(domain, base))  # another thread may have opened it meanwhile


def file_store(domain: Domain, base: Path) -> FileStore:
    """Return a new store over a domain's document. The caller keeps it."""
    return FileStore(domain, open_document(domain, base), journal_above=app_settings.journal_above())


def open_document(domain: Domain, base: Path, packing: Packing | None = None) -> Document:
    """Return a domain's document under a data directory, stored as the settings say or in another packing."""
    packing = packing or app_settings.packing()
    return Document(base, domain.file, packing, allow_network=app_settings.allow_network_fs())


def close_file_stores() -> None:
    """Fold the journals that have grown, and release the memory of the file stores."""
    for store in _files.values():
        try:
            store.close()
        except (OrbError, OSError) as problem:  # all data is saved; the next process folds the journal
            logger.warning("a journal was not folded at exit: %s", problem)


atexit.register(close_file_stores)


def open_sql_store(domain: Domain, using: str = "default") -> SqlStore:
    """Return the store over a domain's tables. Raises StoreUnavailable, KeyUnavailable.

    StoreUnavailable is raised where the database or its tables cannot be reached, KeyUnavailable where texts are sealed
    and no keys are configured.
    """
    if using not in connections:
        raise StoreUnavailable(f"DATABASES has no {using!r}; it has {', '.join(map(repr, connections))}")
    connection = connections[using]
    try:
        tables = connection.introspection.table_names()
    except DatabaseError as problem:
        raise StoreUnavailable(explained(problem, using)) from problem
    needed = (Run, Change, Reject, UserKey, *domain.models.values())
    missing = sorted({model._meta.db_table for model in needed} - set(tables))
    if missing:
        raise StoreUnavailable(f"{place_of(using)} has no table {', '.join(missing)}; run: {program()} migrate")
    refuse_plain_writer(using)
    return SqlStore(domain, using)
