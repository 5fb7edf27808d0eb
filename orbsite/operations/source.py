"""Where operations read from: the documents under one data directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orbsite.storage.content import entries
from orbsite.storage.document import require_directory
from orbsite.storage.domain import Domain, Entry
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.finding import ROOT, warning
from orbsite.stores import file_store


def read_documents(domains: list[Domain], base: Path) -> dict[str, Iterator[Entry]]:
    """Return what stands in each domain's document; all documents are read and checked before anything is returned.

    A missing file has no entries but a remark. Raises DocumentError where a file cannot be used, or where the
    directory is missing.
    """
    require_directory(base)
    return {domain.name: read_document(domain, base) for domain in domains}


def read_document(domain: Domain, base: Path) -> Iterator[Entry]:
    """Return what stands in one domain's document. Raises DocumentError."""
    data = file_store(domain, base).snapshot()
    if data is None:
        remark = warning(ROOT, f"there is no file {domain.file}, and so there are no records")
        return iter([Entry(place=(), findings=(remark,))])
    try:
        return entries(domain, data)
    except DocumentCorrupt as problem:
        raise DocumentCorrupt(
            f"{base / domain.file}: {problem}; nothing was written, and the file is as it was. "
            "Mend it, then run this again"
        ) from problem
