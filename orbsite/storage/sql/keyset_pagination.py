"""Reads the records of ordered rows page by page, without a transaction between pages."""

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
    """Yield the records of all rows that meet the conditions and come after a cursor; report unreadable rows.

    With `max_bytes`, a page ends with the row that exceeds this many bytes, which limits the rows in memory.
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
        decoded: list[R] | None = None if reader is None else reader.read(rows)
        yield _one_by_one(kind, rows, unread) if decoded is None else decoded
        if len(rows) < page.size:
            return
        after = Cursor(rows[-1][at] for at in places)  # raw values, because the row may not decode


def _one_by_one(kind: type[R], rows: list[tuple[Any, ...]], unread: Unread) -> list[R]:
    decoded = []
    for row in rows:
        cells = dict(zip(columns(kind), row, strict=True))
        reading = read_cells(kind, cells)
        if reading.record is None:
            unread.add(why_unreadable(kind, cells, reading))
        else:
            decoded.append(reading.record)
    return decoded
