"""How the bytes of documents and journals are kept: as they are."""

from __future__ import annotations

from typing import Protocol


class Envelope(Protocol):
    """Wraps bytes for the disk: those of a document as a whole, those of a journal line by line."""

    def close(self, data: bytes) -> bytes:
        """Return the bytes to keep."""

    def open(self, kept: bytes) -> bytes:
        """Return the document's bytes. Raises DocumentCorrupt where they were changed."""

    def close_line(self, line: bytes) -> bytes:
        """Return the bytes to keep of a line without its end; they hold no line feed either."""

    def open_line(self, kept: bytes) -> bytes:
        """Return the line. Raises DocumentCorrupt where it was changed."""


class Plain:
    """Keeps bytes as they are."""

    def close(self, data: bytes) -> bytes:
        """Return the bytes to keep."""
        return data

    def open(self, kept: bytes) -> bytes:
        """Return the document's bytes."""
        return kept

    def close_line(self, line: bytes) -> bytes:
        """Return the line."""
        return line

    def open_line(self, kept: bytes) -> bytes:
        """Return the line."""
        return kept
