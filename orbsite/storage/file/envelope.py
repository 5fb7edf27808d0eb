"""The envelope around the bytes of documents and journals. The only one so far keeps them unchanged."""

from __future__ import annotations

from typing import Protocol


class Envelope(Protocol):
    """Wraps bytes for the disk: a document as a whole, a journal line by line."""

    def close(self, data: bytes) -> bytes:
        """Return the bytes to store for a document's bytes."""

    def open(self, kept: bytes) -> bytes:
        """Return the document's bytes for stored bytes. Raises DocumentCorrupt if they were changed."""

    def close_line(self, line: bytes) -> bytes:
        """Return the bytes to store for a line without its line feed; they contain no line feed either."""

    def open_line(self, kept: bytes) -> bytes:
        """Return the line for stored bytes. Raises DocumentCorrupt if they were changed."""


class Plain:
    """An envelope that stores bytes unchanged."""

    def close(self, data: bytes) -> bytes:
        """Return the document's bytes unchanged."""
        return data

    def open(self, kept: bytes) -> bytes:
        """Return the stored bytes unchanged."""
        return kept

    def close_line(self, line: bytes) -> bytes:
        """Return the journal line unchanged."""
        return line

    def open_line(self, kept: bytes) -> bytes:
        """Return the stored line unchanged."""
        return kept
