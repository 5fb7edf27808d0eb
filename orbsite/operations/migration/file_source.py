"""The sources of runs: the documents under a data directory, or another source with the same interface."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.file.content import spans
from orbsite.storage.file.document import require_directory
from orbsite.storage.filesystem.atomic_replace import digest_of
from orbsite.storage.findings import ROOT, warning
from orbsite.storage.records.domain import Domain, Entry, Span, flattened
from orbsite.storage.records.record import field_names
from orbsite.stores import file_store

_SAMPLE = 4 << 20


class Source(Protocol):
    """A source of a run. Its contents do not change while it is open."""

    @property
    def name(self) -> str:
        """The name of the source in the ledger."""

    @property
    def digests(self) -> dict[str, str]:
        """Digests of the parts of the source; for files by domain. An equal digest means an unchanged part."""

    @property
    def documents(self) -> Mapping[str, bytes | None] | None:
        """The documents of the source, by domain; None for a source without files."""

    @property
    def base(self) -> Path | None:
        """The data directory of the source; None for any other source."""

    def entries(self, domain: Domain) -> Iterator[Entry]:
        """Return all entries of one domain, always in the same order."""

    def spans(self, domain: Domain) -> Iterator[Entry | Span]:
        """Return the same entries, of which those of long lists may be spans."""

    def expected(self, domain: Domain) -> tuple[int, int]:
        """Return the approximate number of records and their size in bytes."""


class DocumentsSnapshot:
    """The documents of some domains at one moment, including their journals."""

    def __init__(self, domains: list[Domain], base: Path) -> None:
        """Read and check all documents.

        Raises DocumentError where a file cannot be used, or where the directory is missing.
        """
        require_directory(base)
        self.name = os.fsencode(base).decode(errors="backslashreplace")  # a path may hold bytes that are no text
        self.base: Path | None = base
        self._directory = base
        self.documents = {domain.name: file_store(domain, base).snapshot() for domain in domains}
        self._checked = {domain.name: _spans(domain, base, self.documents[domain.name]) for domain in domains}
        self.digests = {name: digest_of(content) or "" for name, content in self.documents.items()}

    def entries(self, domain: Domain) -> Iterator[Entry]:
        """Return the entries of a domain's document. A missing file has one entry, with a warning only."""
        return flattened(self.spans(domain))

    def spans(self, domain: Domain) -> Iterator[Entry | Span]:
        """Return the entries of a domain's document, those of long lists as spans."""
        return self._checked.pop(domain.name, None) or _spans(domain, self._directory, self.documents[domain.name])

    def expected(self, domain: Domain) -> tuple[int, int]:
        """Return the approximate number of records in a document, estimated from its first bytes, and its size."""
        data = self.documents[domain.name] or b""
        kind = domain.kinds[0]
        names = dict(field_names(kind))
        counted_key = names[kind.version_field or kind.time_field or kind.key_fields[-1]]
        sample = data[:_SAMPLE]
        return sample.count(b'"%s"' % counted_key.encode()) * len(data) // max(len(sample), 1), len(data)


def read_document(domain: Domain, base: Path) -> Iterator[Entry]:
    """Return the entries of one domain's document. Raises DocumentError."""
    return flattened(_spans(domain, base, file_store(domain, base).snapshot()))


def _spans(domain: Domain, base: Path, data: bytes | None) -> Iterator[Entry | Span]:
    if data is None:
        finding = warning(ROOT, f"there is no file {domain.file}, and so there are no records")
        return iter([Entry(place=(), findings=(finding,))])
    try:
        return spans(domain, data)
    except DocumentCorrupt as problem:
        raise DocumentCorrupt(
            f"{base / domain.file}: {problem}; nothing was written, and the file is unchanged. "
            "Repair it, then run this again"
        ) from problem
