"""How a document's bytes are kept: as they are."""

from __future__ import annotations

from typing import Protocol


class Envelope(Protocol):
    """Wraps a document's bytes for the disk."""

    def close(self, data: bytes) -> bytes:
        """Return the bytes to keep."""

    def open(self, kept: bytes) -> bytes:
        """Return the document's bytes. Raises DocumentCorrupt where they were changed."""


class Plain:
    """Keeps bytes as they are."""

    def close(self, data: bytes) -> bytes:
        """Return the bytes to keep."""
        return data

    def open(self, kept: bytes) -> bytes:
        """Return the document's bytes."""
        return kept
