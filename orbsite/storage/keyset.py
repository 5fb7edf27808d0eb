"""Records of ordered rows, page by page; no transaction is held between pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from django.db import connections

from orbsite.storage.prepared import Page, fetch, fitting, rows_of
from orbsite.storage.record import R, columns
from orbsite.storage.rowreader import reader_of
from orbsite.storage.rows import read_row


def records(
    page: Page, where: Mapping[str, Any], after: tuple[Any, ...] | None, kind: type[R], max_bytes: int | None = None
) -> Iterator[R]:
    """Yield the records of all rows that meet conditions and come after a cursor.

    With `max_bytes`, no more rows than have so many bytes are in memory at a time, one that exceeds them aside.
    """
    return chain.from_iterable(_pages(page, where, after, kind, max_bytes))


def _pages(
    whole: Page, where: Mapping[str, Any], after: tuple[Any, ...] | None, kind: type[R], max_bytes: int | None
) -> Iterator[list[R]]:
    reader = reader_of(whole.model, connections[whole.using].vendor)
    page = whole
    while page.size:
        if max_bytes is not None:
            page = replace(whole, size=fitting(whole, where, after, max_bytes))
        found: list[R] | None = None if reader is None else reader.read(fetch(page, where, after))
        if found is not None:
            yield found
            number, last = len(found), found[-1:]
            after = tuple(getattr(one, name) for one in last for name in page.names)
        else:
            values = [
                dict(zip(columns(kind), row, strict=True))
                for row in rows_of(page, where, after).values_list(*columns(kind))
            ]
            yield [record for one in values if (record := read_row(kind, one).record) is not None]
            number = len(values)
            after = tuple(one[name] for one in values[-1:] for name in page.names)
        if number < page.size:
            return
