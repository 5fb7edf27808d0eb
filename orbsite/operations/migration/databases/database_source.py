"""Reads a source database, of the earlier system or of this product, as entries. Nothing is written there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from orbsite.operations.migration.databases.database_address import NEEDS_PSYCOPG, Address
from orbsite.operations.migration.databases.source_rows import RowEntries
from orbsite.operations.migration.databases.sqlite_source import SqliteSource
from orbsite.operations.progress import Progress, silent
from orbsite.storage.driver_errors import driver_message
from orbsite.storage.errors import StoreUnavailable
from orbsite.storage.findings import ROOT, warning
from orbsite.storage.records.domain import Domain, Entry

if TYPE_CHECKING:
    from orbsite.operations.migration.databases.postgresql_source import PostgresqlSource

_Tables: TypeAlias = "SqliteSource | PostgresqlSource"


class LegacyDatabase:
    """A source database, opened read-only in one transaction. Use it as a context manager."""

    def __init__(self, url: str, progress: Progress = silent) -> None:
        """Open the database. Raises StoreUnavailable where the address is not valid or the database does not answer."""
        address = Address(url)
        self.documents = self.base = None
        self.name = address.name
        """The address without user and password."""
        self._tables = _opened(address, progress)

    def __enter__(self) -> LegacyDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.close()

    def entries(self, domain: Domain) -> Iterator[Entry]:
        """Yield the rows of the domain's tables, by key. A missing table yields an entry with a warning only."""
        for kind, model in domain.models.items():
            table = model._meta.db_table
            columns = self._tables.columns(table)
            if not columns:
                yield Entry(place=(), findings=(warning(ROOT, f"there is no table {table}"),))
                continue
            rows = RowEntries(domain, kind, columns)
            for page in self._tables.pages(table, kind.key_fields, columns):
                yield from rows.of(page)

    spans = entries
    """A database has no long lists."""

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of the whole database; empty where it cannot be computed."""
        return {"database": self._tables.digest}

    def expected(self, domain: Domain) -> tuple[int, int]:
        """Return the number of rows in the domain's tables, and their approximate size in bytes."""
        tables = [model._meta.db_table for model in domain.models.values()]
        number = sum(self._tables.count(table) for table in tables if self._tables.columns(table))
        return number, self._tables.size


def _opened(address: Address, progress: Progress) -> _Tables:
    try:
        return _of_server(address, progress) if address.path is None else SqliteSource(address, progress)
    except OSError as problem:
        why = os.strerror(problem.errno) if problem.errno else type(problem).__name__
        raise StoreUnavailable(f"{address.name} cannot be read: {why}; check the path and its permissions") from problem
    except ValueError as problem:  # a NUL in the path
        raise StoreUnavailable(f"{address.name!r} is not a path: {problem}") from problem
    except sqlite3.Error as problem:
        raise StoreUnavailable(
            f"{address.name} cannot be read: {address.masked(driver_message(problem))}; check the path, and that "
            "no program locks it"
        ) from problem


def _of_server(address: Address, progress: Progress) -> PostgresqlSource:
    try:
        import psycopg

        from orbsite.operations.migration.databases.postgresql_source import PostgresqlSource
    except ImportError as problem:
        raise StoreUnavailable(f"{address.name} {NEEDS_PSYCOPG}") from problem
    try:
        return PostgresqlSource(address, progress)
    except psycopg.Error as problem:
        raise StoreUnavailable(
            f"{address.name} cannot be read: {address.masked(driver_message(problem))}; check the address, and that "
            "the server runs"
        ) from None  # the original error may hold the password
