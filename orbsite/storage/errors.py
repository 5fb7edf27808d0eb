"""Every error that this project raises on purpose, in one tree.

OrbError
├── InvalidRecord         a record breaks its own rules; nothing was written
├── Conflict              the stored record is not what the caller expected; nothing was written
│   └── OwnerConflict     the key belongs to another user, where keys leave the user out
├── SeveralUsers          an id alone does not tell which record is meant; nothing was read or written
├── RecordUnreadable      an item that does not decode holds the place; nothing was written
├── StoreUnavailable      a store that was asked for cannot be opened, or is lost; nothing was written
│   └── LockTimeout       others hold the lock, or were in the way each time; nothing was written
├── DocumentError         a file cannot be used; its bytes stay as they are
│   ├── DocumentCorrupt   it is not what the layout says
│   └── DocumentRefused   it is no plain private file of ours
├── TooMuch               more of a store would go than goes unasked; nothing was written
├── InvalidPolicy         a retention policy says nothing, or nothing that can be done; nothing was written
├── RunUnderWay           another run writes to the database; nothing was erased
├── QuotaExceeded         a token has started, or keeps, as much as it may; nothing was started
├── ClockJumped           a policy asks the clock, and the clock has jumped back; nothing was written
├── SaveFailed            nothing was saved; the old content is whole
└── SaveOutcomeUnknown    the disk or the database did not confirm it: it may be there, now or after a power cut
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbsite.storage.findings import Finding


class OrbError(Exception):
    """Something went wrong that a person can act on; the message says what, where and what to do."""


class InvalidRecord(OrbError):
    """A record breaks its own rules; `findings` has every problem with its path."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        listed = "; ".join(f"{finding.path}: {finding.message}" for finding in self.findings)
        super().__init__(f"The record was not saved, because it is not valid: {listed}")


class Conflict(OrbError):
    """The stored record is not what the caller expected; nothing was written. Read it again, then retry."""


class OwnerConflict(Conflict):
    """The key belongs to another user, and a record never changes hands; nothing was written.

    Only records whose key leaves the user out can raise it: of all others, two users may have the same id.
    """


class SeveralUsers(OrbError):
    """Several users have a record of this id, and no user was named. Ask again with the user."""


class RecordUnreadable(OrbError):
    """An item that does not decode holds the place of the record; it was left as it is."""


class StoreUnavailable(OrbError):
    """A store that was asked for cannot be opened, or was lost before anything was written."""


class LockTimeout(StoreUnavailable):
    """Others held the lock until the deadline, or were in the way each time; nothing was written."""


class DocumentError(OrbError):
    """A file cannot be used; its bytes stay as they are."""


class DocumentCorrupt(DocumentError):
    """A file is not what its layout says; `path` tells which part, where it is JSON at all."""

    def __init__(self, reason: str, path: str | None = None) -> None:
        self.reason, self.path = reason, path
        super().__init__(reason if path is None else f"{path}: {reason}")


class DocumentRefused(DocumentError):
    """A file or directory is no plain private one of ours: a link, a pipe, somebody else's, open to all."""


class TooMuch(OrbError):
    """More of a store would go than goes unasked; nothing was written. Look at what would go, then use --force."""


class InvalidPolicy(OrbError):
    """A retention policy says nothing, or nothing that can be done; nothing was written."""


class RunUnderWay(OrbError):
    """Another run writes to the database, and could bring back what goes; nothing was erased. Try again later."""


class QuotaExceeded(OrbError):
    """A token has started as many jobs, or keeps as many bytes, as it may; nothing was started."""

    def __init__(self, message: str, retry_after: int = 60) -> None:
        self.retry_after = retry_after
        """In how many seconds it is worth trying again."""
        super().__init__(message)


class ClockJumped(OrbError):
    """The last run, or most of the newest records, are from the future: the clock went back; nothing was written."""


class SaveFailed(OrbError):
    """Nothing was saved; the old content is whole."""


class SaveOutcomeUnknown(OrbError):
    """The disk or the database did not confirm the new content: read it again before you retry."""
