"""Reports items that do not decode, to the caller of a read or to the log."""

from __future__ import annotations

import logging
from typing import Any

from orbsite.storage.findings import Finding, Unreadable

logger = logging.getLogger(__name__)

_MOST_LOGGED = 20


class Unread:
    """The unreadable items of one read. Used as a context manager, it logs one warning if the caller has no list."""

    def __init__(self, findings: list[Finding] | None) -> None:
        self._findings, self._paths, self._number = findings, list[str](), 0

    def __enter__(self) -> Unread:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._number:
            more = ", ..." if self._number > len(self._paths) else ""
            logger.warning("skipped items that do not decode (%d): %s%s", self._number, ", ".join(self._paths), more)

    def add(self, finding: Unreadable) -> None:
        """Report one unreadable item."""
        if self._findings is not None:
            self._findings.append(finding)
            return
        self._number += 1
        if len(self._paths) < _MOST_LOGGED:
            self._paths.append(finding.path)
