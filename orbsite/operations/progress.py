"""The progress of an operation, and requests to stop it."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

from orbsite.operations.report import Report


class Stopped(KeyboardInterrupt):
    """The operation ended early on request, at a point from which it can resume. The message says how."""


class Progress:
    """Receives the progress of an operation; this one ignores it."""

    is_stopping = False
    """Whether the operation is to end after its current batch."""

    def expect(self, records: int) -> None:
        """Announce the approximate number of records to come."""

    def tells_of(self, report: Report) -> None:
        """Announce the report in the making. Observers may read it at any time."""

    def heeded(self) -> AbstractContextManager[None]:
        """Report a stop request in `is_stopping` only, because the operation checks that after each batch."""
        return contextlib.nullcontext()

    def __call__(self, records: int) -> None:
        """Announce that `records` more records are done."""


silent = Progress()
