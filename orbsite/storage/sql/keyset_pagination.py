"""Reads the records of ordered rows page by page, without a transaction between pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from orbsite.storage.base.store import PrintedPage
from orbsite.storage.records.record import R, columns
from orbsite.storage.records.sealed_columns import is_sealing, may_be_marked
from orbsite.storage.records.unreadable import Unread
from orbsite.storage.sql.compiled_query import PageQuery, fetch, fetch_within, fitting, opened, rows_within
from orbsite.storage.sql.filters import beyond
from orbsite.storage.sql.models import RecordRow, column_of, read_or_tell
from orbsite.storage.sql.raw_columns import Cursor, RawValue, named_rows
from orbsite.storage.sql.row_decoder import reader_of


def records(
    whole: PageQuery,
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
    places = [columns(kind).index(name) for name in whole.names]
    page = whole
    while page.size:
        if max_bytes is not None:
            page = replace(whole, size=fitting(whole, where, after, max_bytes))
        rows = fetch(page, where, after)
        yield from decode(whole.model, rows, unread, whole.using)
        if len(rows) < page.size:
            return
        after = Cursor(rows[-1][at] for at in places)  # raw values, because the row may not decode


def decode(model: type[RecordRow], rows: list[tuple[Any, ...]], unread: Unread, using: str) -> list[Any]:
    """Return the records of rows with all raw columns of the kind; report unreadable rows."""
    reader = reader_of(model, connections[using].vendor)
    decoded = None if reader is None else reader.read(rows)
    return _one_by_one(model.kind, rows, unread) if decoded is None else decoded


def printed(
    whole: PageQuery, where: Mapping[str, Any], after: tuple[Any, ...] | None, max_bytes: int
) -> PrintedPage | None:
    """Return all rows of a page but its last as JSON, or None if a row needs the slow path, or the page is large.

    The last row tells that there are more.
    """
    reader = reader_of(whole.model, connections[whole.using].vendor)
    rows = None if reader is None else fetch_within(whole, where, after, max_bytes)
    if reader is None or rows is None:
        return None
    page = reader.printed(opened(whole, rows) if is_sealing() else rows, whole.size - 1, max_bytes)
    return None if page is None or may_be_marked(page.items) else page


def _one_by_one(kind: type[R], rows: list[tuple[Any, ...]], unread: Unread) -> list[R]:
    names = columns(kind)
    found = (read_or_tell(kind, dict(zip(names, row, strict=True)), unread) for row in rows)
    return [record for record in found if record is not None]


def raw_pages(
    rows: QuerySet[Any],
    order: tuple[str, ...],
    names: Sequence[str],
    size: int,
    *,
    after: tuple[Any, ...] | None = None,
    oldest_first: bool = True,
    max_bytes: int | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """Yield pages of raw columns by name, of the rows after a cursor, in the order of some of these columns.

    The caller may change the rows of a page. `max_bytes` limits a page as in `records`.
    """
    sign, direction = ("", "gt") if oldest_first else ("-", "lt")
    rows = rows.order_by(*(sign + name for name in order))
    while True:
        rest = rows if after is None else rows.filter(beyond(order, after, direction))
        number = size if max_bytes is None else rows_within(rest, size, max_bytes)
        page = list(named_rows(rest[:number], names))
        if page:
            yield page
        if len(page) < number:
            return
        after = tuple(RawValue(page[-1][name], column_of(rows.model, name)) for name in order)
