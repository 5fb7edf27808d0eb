"""Detection of file changes by the file's status, without reading the content.

A change updates the file's ctime, which programs cannot set, but the ctime has the resolution of the kernel's clock: a
file that was changed in the tick in which it was read looks unchanged. Therefore, as in git, the status of a file that
was changed that recently is not trusted.
"""

from __future__ import annotations

import os

import msgspec

_TICK = 100_000_000
"""Nanoseconds, longer than any kernel's clock tick; for file systems with fractions of seconds."""
_COARSE_TICK = 2_000_000_000
_SECOND = 1_000_000_000


def seconds_until_sure(changed: int, now: int) -> float:
    """Return how long to wait until the status of a file tells every later change; both times are in nanoseconds."""
    left = _tick(changed) - (now - changed)
    return max(left, 0) / _SECOND if left <= _tick(changed) else 0.0  # a clock that was set back tells nothing


def _tick(changed: int) -> int:
    return _TICK if changed % _SECOND else _COARSE_TICK


class StatSignature(msgspec.Struct, frozen=True):
    """The status of a file that was read, and the time of the reading."""

    identity: tuple[int, ...]
    changed: int
    taken: int
    """Both in nanoseconds since the epoch: the time of the file's last change, and the time of the reading."""

    @classmethod
    def of_renamed(cls, status: os.stat_result, taken: int) -> StatSignature:
        """Return the signature of a file that this project wrote and synced, and that has only been renamed since.

        Its last change is that of its content. `taken` is a time after which the status was read.
        """
        return cls(cls.of(status, 0).identity, status.st_mtime_ns, taken)

    @classmethod
    def of(cls, status: os.stat_result, taken: int) -> StatSignature:
        """Return the signature of a status; `taken` is a time before the content was read."""
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return cls(identity, status.st_ctime_ns, taken)

    def is_of(self, status: os.stat_result) -> bool:
        """Tell whether a file has the same signature now."""
        return self.identity == StatSignature.of(status, 0).identity

    def is_of_renamed(self, status: os.stat_result) -> bool:
        """Tell whether a file has the same signature, but for a new name, which changes the ctime."""
        return self.identity[:-1] == StatSignature.of(status, 0).identity[:-1]

    @property
    def is_sure(self) -> bool:
        """Whether an equal signature proves that the file is unchanged."""
        return abs(self.taken - self.changed) > _tick(self.changed)
