"""Items that a read has met and that do not decode: told to the caller, or, where it does not ask, to the log."""

from __future__ import annotations

import logging
from typing import Any

from orbsite.storage.findings import Finding, Unreadable

logger = logging.getLogger(__name__)

_MOST_LOGGED = 20


class Unread:
    """The unreadable items of one read. A context manager, which logs one warning at its end where nobody asked."""

    def __init__(self, findings: list[Finding] | None) -> None:
        self._findings, self._paths, self._number = findings, list[str](), 0

    def __enter__(self) -> Unread:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._number:
            more = ", ..." if self._number > len(self._paths) else ""
            logger.warning("left out what does not decode (%d): %s%s", self._number, ", ".join(self._paths), more)

    def add(self, finding: Unreadable) -> None:
        """Take one into account."""
        if self._findings is not None:
            self._findings.append(finding)
            return
        self._number += 1
        if len(self._paths) < _MOST_LOGGED:
            self._paths.append(finding.path)
