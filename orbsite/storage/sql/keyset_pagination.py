"""Records of ordered rows, page by page; no transaction is held between pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from django.db import connections

from orbsite.storage.records.record import R, columns
from orbsite.storage.records.unreadable import Unread
from orbsite.storage.sql.compiled_query import PageQuery, fetch, fitting
from orbsite.storage.sql.models import read_cells, why_unreadable
from orbsite.storage.sql.raw_columns import Cursor
from orbsite.storage.sql.row_decoder import reader_of


def records(
    page: PageQuery,
    where: Mapping[str, Any],
    after: tuple[Any, ...] | None,
    kind: type[R],
    *,
    unread: Unread,
    max_bytes: int | None = None,
) -> Iterator[R]:
    """Yield the records of all rows that meet conditions and come after a cursor, and tell of rows that are none.

    With `max_bytes`, no more rows than have so many bytes are in memory at a time, one that exceeds them aside.
    """
    return chain.from_iterable(_pages(page, where, after, kind, unread=unread, max_bytes=max_bytes))


def _pages(
    whole: PageQuery,
    where: Mapping[str, Any],
    after: tuple[Any, ...] | None,
    kind: type[R],
    *,
    unread: Unread,
    max_bytes: int | None,
) -> Iterator[list[R]]:
    reader = reader_of(whole.model, connections[whole.using].vendor)
    places = [columns(kind).index(name) for name in whole.names]
    page = whole
    while page.size:
        if max_bytes is not None:
            page = replace(whole, size=fitting(whole, where, after, max_bytes))
        rows = fetch(page, where, after)
        found: list[R] | None = None if reader is None else reader.read(rows)
        yield _one_by_one(kind, rows, unread) if found is None else found
        if len(rows) < page.size:
            return
        after = Cursor(rows[-1][at] for at in places)  # what the database orders by, whether it decodes or not


def _one_by_one(kind: type[R], rows: list[tuple[Any, ...]], unread: Unread) -> list[R]:
    found = []
    for row in rows:
        cells = dict(zip(columns(kind), row, strict=True))
        reading = read_cells(kind, cells)
        if reading.record is None:
            unread.add(why_unreadable(kind, cells, reading))
        else:
            found.append(reading.record)
    return found
