"""How an operation tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Is told of each step."""

    def __call__(self, records: int) -> None:
        """Take note that so many more records are done."""


def silent(records: int) -> None:
    """Tell nobody."""
