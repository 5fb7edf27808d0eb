"""Where operations read from: the documents under one data directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.file.content import entries
from orbsite.storage.file.document import require_directory
from orbsite.storage.filesystem.atomic_replace import digest_of
from orbsite.storage.findings import ROOT, warning
from orbsite.storage.records.domain import Domain, Entry
from orbsite.storage.records.record import field_names
from orbsite.stores import file_store

_SAMPLE = 4 << 20


class Source(Protocol):
    """Where a run reads from: the same from beginning to end."""

    @property
    def name(self) -> str:
        """What the ledger calls it."""

    @property
    def digests(self) -> dict[str, str]:
        """What tells that a part of it is still the same, for files by domain."""

    @property
    def documents(self) -> Mapping[str, bytes | None] | None:
        """The documents that it consists of, by domain; None where it is no files."""

    @property
    def base(self) -> Path | None:
        """The data directory that it is; None where it is none."""

    def entries(self, domain: Domain) -> Iterator[Entry]:
        """Return everything of one domain, in an order that is always the same."""

    def expected(self, domain: Domain) -> tuple[int, int]:
        """Return about how many records there are, and how many bytes."""


class DocumentsSnapshot:
    """What the documents of some domains hold at one moment, journals included."""

    def __init__(self, domains: list[Domain], base: Path) -> None:
        """Read and check all documents before anything is returned.

        Raises DocumentError where a file cannot be used, or where the directory is missing.
        """
        require_directory(base)
        self.name = os.fsencode(base).decode(errors="backslashreplace")  # a path may hold bytes that no text has
        self.base: Path | None = base
        self._directory = base
        self.documents = {domain.name: file_store(domain, base).snapshot() for domain in domains}
        self._checked = {domain.name: _entries(domain, base, self.documents[domain.name]) for domain in domains}
        self.digests = {name: digest_of(content) or "" for name, content in self.documents.items()}

    def entries(self, domain: Domain) -> Iterator[Entry]:
        """Return what stands in a domain's document; a missing file has no entries but a remark."""
        return self._checked.pop(domain.name, None) or _entries(domain, self._directory, self.documents[domain.name])

    def expected(self, domain: Domain) -> tuple[int, int]:
        """Return about how many records a document has, by how often a key of theirs comes first, and its bytes."""
        data = self.documents[domain.name] or b""
        kind = domain.kinds[0]
        names = dict(field_names(kind))
        witness = names[kind.version_field or kind.time_field or kind.key_fields[-1]]
        sample = data[:_SAMPLE]
        return sample.count(b'"%s"' % witness.encode()) * len(data) // max(len(sample), 1), len(data)


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
