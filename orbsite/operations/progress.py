"""How an operation tells how far it is, and is told to stop."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

from orbsite.operations.report import Report


class Stopped(KeyboardInterrupt):
    """Somebody wanted the operation to end, and it did where it can be gone on with; the message says how."""


class Progress:
    """Is told of each step; this one tells nobody."""

    is_stopping = False
    """Whether somebody wants the operation to end after the batch that it is in."""

    def expect(self, records: int) -> None:
        """Take note that about so many records are still to come."""

    def tells_of(self, report: Report) -> None:
        """Take note of the report that is being made: whoever follows may look at what it says so far."""

    def heeded(self) -> AbstractContextManager[None]:
        """Let a wish to stop show in `is_stopping` alone, because the operation looks there after each batch."""
        return contextlib.nullcontext()

    def __call__(self, records: int) -> None:
        """Take note that so many more records are done."""


silent = Progress()
