"""Where operations read from: the documents under one data directory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from orbsite.storage.content import entries
from orbsite.storage.document import require_directory
from orbsite.storage.domain import Domain, Entry
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.finding import ROOT, warning
from orbsite.storage.replace import digest_of
from orbsite.stores import file_store


class Snapshot:
    """What the documents of some domains hold at one moment, journals included."""

    def __init__(self, domains: list[Domain], base: Path) -> None:
        """Read and check all documents before anything is returned.

        Raises DocumentError where a file cannot be used, or where the directory is missing.
        """
        require_directory(base)
        self.name = os.fsencode(base).decode(errors="backslashreplace")  # a path may hold bytes that no text has
        self._base = base
        self._data = {domain.name: file_store(domain, base).snapshot() for domain in domains}
        self._checked = {domain.name: _entries(domain, base, self._data[domain.name]) for domain in domains}
        digests = [f"{name}:{digest_of(content)}" for name, content in sorted(self._data.items())]
        self.digest = hashlib.sha256("\n".join(digests).encode()).hexdigest()
        """The SHA-256 of everything in it."""

    def entries(self, domain: Domain) -> Iterator[Entry]:
        """Return what stands in a domain's document; a missing file has no entries but a remark."""
        return self._checked.pop(domain.name, None) or _entries(domain, self._base, self._data[domain.name])


def read_document(domain: Domain, base: Path) -> Iterator[Entry]:
    """Return what stands in one domain's document. Raises DocumentError."""
    return _entries(domain, base, file_store(domain, base).snapshot())


def _entries(domain: Domain, base: Path, data: bytes | None) -> Iterator[Entry]:
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
