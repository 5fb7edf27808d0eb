"""Writes what a store holds as files in the guide's layout: of everybody, or of one person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orbsite.operations.batches import batched
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.storage.domain import Tree
from orbsite.storage.errors import DocumentRefused
from orbsite.storage.javascript import stringify
from orbsite.storage.record import Record
from orbsite.storage.store import LedgerStore, Store
from orbsite.stores import file_store

COLUMNS = ("exported",)
_PAGE = 1000


def export(
    stores: list[Store], to: Path, *, user: str | None = None, overwrite: bool = False, progress: Progress = silent
) -> Report:
    """Write a file for each store under a directory, each as a whole or not at all; private, as all our files.

    Raises DocumentRefused where a file is there already; with `overwrite` it is replaced, and stays beside it as .prev.
    """
    targets = [file_store(store.domain, to) for store in stores]
    for target in targets:
        if not overwrite and target.snapshot() is not None:
            raise DocumentRefused(
                f"{to / target.domain.file} is there already; choose another directory, or --overwrite"
            )
    report = Report(columns=COLUMNS)
    progress.tells_of(report)
    for store, target in zip(stores, targets, strict=True):
        section = report.section(store.domain.name, (kind.plural for kind in store.domain.kinds))
        target.replace(document_of(store, user=user, section=section, progress=progress))
    return report


def document_of(
    store: Store, *, user: str | None = None, section: Section | None = None, progress: Progress = silent
) -> bytes:
    """Return the file that holds what a store does, of everybody or of one person."""
    tree: Tree = {}
    for kind in store.domain.kinds:
        for record in _in_order(store, kind, user):
            store.domain.layout.put(tree, record, None)
            if section is not None:
                section.count(kind.plural, "exported")
            progress(1)
    return stringify(store.domain.layout.encode(tree))


def _in_order(store: Store, kind: type[Record], user: str | None) -> Iterator[Record]:
    """Yield records as they stood in their lists; those that came from no file last, by their own order."""
    records = store.walk(kind) if user is None else iter(store.find(kind, {"user_id": user}, oldest_first=True))
    placed: list[tuple[bool, int, Record]] = []
    for page in batched(records, _PAGE):
        positions = _positions(store, kind, page)
        placed += [(one is None, one or 0, record) for record, one in zip(page, positions, strict=True)]
    placed.sort(key=lambda one: (one[0], one[1], one[2].order))
    return (record for _, _, record in placed)


def _positions(store: Store, kind: type[Record], page: list[Record]) -> list[int | None]:
    if not isinstance(store, LedgerStore):
        return [None] * len(page)
    rows = store.rows(kind, [record.key for record in page])
    return [rows[record.key].position if record.key in rows else None for record in page]
