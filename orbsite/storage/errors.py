"""All errors that this project raises on purpose, in one tree.

OrbError
├── InvalidRecord         a record breaks its domain's rules; nothing was written
├── Conflict              the stored record is not the one that the caller expected; nothing was written
│   └── OwnerConflict     the key belongs to another user, in a kind whose keys do not include the user
├── SeveralUsers          several users have a record with this id; nothing was read or written
├── RecordUnreadable      an item that does not decode has the record's key or place; nothing was written
├── StoreUnavailable      a store cannot be opened, or its connection was lost; nothing was written
│   └── LockTimeout       other writers held the lock until the deadline; nothing was written
├── DocumentError         a file cannot be used; its bytes are unchanged
│   ├── DocumentCorrupt   the file does not have its documented format
│   ├── DocumentRefused   the file is not a plain, private file of this user
│   │   └── NotSealed     the file is not sealed, although keys are configured
│   ├── KeyUnavailable    the file is sealed, and its key is missing or is another one
│   └── NewerVersion      the file has a newer schema version than this program knows
├── InvalidKeys           the configured keys cannot be used; nothing was read or written
├── TooMuch               more would be removed than is allowed without confirmation; nothing was written
├── InvalidPolicy         a retention policy is empty or contradictory; nothing was written
├── RunUnderWay           another run writes to the database; nothing was erased
├── QuotaExceeded         a token has reached its limit of jobs or of stored bytes; nothing was started
├── ClockJumped           a policy depends on the clock, and the clock went back; nothing was written
├── SaveFailed            nothing was saved; the old content is intact
└── SaveOutcomeUnknown    the disk or the database did not confirm the save, which may or may not be durable
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orbsite.storage.findings import Finding

_LARGEST_SHOWN = 10**9
"""The largest version that a message quotes, because an integer in a file may have any number of digits."""


class OrbError(Exception):
    """The base of all errors that a user can act on; the message says what happened, where, and what to do next."""


class InvalidRecord(OrbError):
    """A record breaks its domain's rules; `findings` has every problem with its path."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        listed = "; ".join(f"{finding.path}: {finding.message}" for finding in self.findings)
        super().__init__(f"The record was not saved, because it is not valid: {listed}")


class Conflict(OrbError):
    """The stored record is not the one that the caller expected; nothing was written. Read it again, then retry."""


class OwnerConflict(Conflict):
    """The key belongs to another user, and the owner of a record never changes; nothing was written.

    Only records whose key does not include the user raise it: in all other kinds, two users may have the same id.
    """


class SeveralUsers(OrbError):
    """Several users have a record with this id, and no user was given. Repeat the request with the user."""


class RecordUnreadable(OrbError):
    """An item that does not decode has the key or the place of the record; it was left unchanged."""


class StoreUnavailable(OrbError):
    """A store cannot be opened, or its connection was lost before anything was written."""


class LockTimeout(StoreUnavailable):
    """Other writers held the lock until the deadline, or conflicted with every attempt; nothing was written."""


class DocumentError(OrbError):
    """A file cannot be used; its bytes are unchanged."""


class DocumentCorrupt(DocumentError):
    """A file does not have its documented format; `path` is the JSON path of the part, if the file is valid JSON."""

    def __init__(self, reason: str, path: str | None = None) -> None:
        self.reason, self.path = reason, path
        super().__init__(reason if path is None else f"{path}: {reason}")


class DocumentRefused(DocumentError):
    """A file or directory is a link, a pipe, owned by another user, or open to other users."""


class NotSealed(DocumentRefused):
    """A file is not sealed although keys are configured, so it may have been replaced. Seal it, or restore a backup."""


class KeyUnavailable(DocumentError):
    """A file is sealed, and its key is missing or is another one."""


class NewerVersion(DocumentError):
    """A file has a newer schema version than this program knows; it is neither read nor written.

    `path` is the JSON path of the part that states the version; `file` is empty where the file is not known.
    """

    def __init__(self, version: int, known: int, path: str, file: str = "") -> None:
        self.version, self.known, self.path = version, known, path
        where = f"{file}: {path}" if file else path
        shown = version if version <= _LARGEST_SHOWN else f"above {_LARGEST_SHOWN}"
        self.reason = (
            f"has schema version {shown}, and this program knows versions up to {known}; nothing was read or changed. "
            "Update this program, or have the program that wrote the file export its data for older readers: "
            f"export_orb_files --schema-version {known}"
        )
        super().__init__(f"{where} {self.reason}")

    def of(self, file: str) -> NewerVersion:
        """Return the error with the name of the file."""
        return NewerVersion(self.version, self.known, self.path, file)


class InvalidKeys(OrbError):
    """The configured keys cannot be used: they are malformed, repeated, or open to other users."""


class SearchOff(OrbError):
    """The search over texts is off, because they are sealed."""


class TooMuch(OrbError):
    """More would be removed than is allowed without confirmation; nothing was written. Preview it, then use --force."""


class InvalidPolicy(OrbError):
    """A retention policy is empty or contradictory; nothing was written."""


class RunUnderWay(OrbError):
    """Another run writes to the database and could restore erased data; nothing was erased. Try again later."""


class QuotaExceeded(OrbError):
    """A token has reached its limit of jobs or of stored bytes; nothing was started."""

    def __init__(self, message: str, retry_after: int = 60) -> None:
        self.retry_after = retry_after
        """The number of seconds after which to try again."""
        super().__init__(message)


class ClockJumped(OrbError):
    """The last run or most of the newest records have future times, so the clock went back; nothing was written."""


class SaveFailed(OrbError):
    """Nothing was saved; the old content is intact."""


class SaveOutcomeUnknown(OrbError):
    """The disk or the database did not confirm the save. Read the content again before you retry."""
