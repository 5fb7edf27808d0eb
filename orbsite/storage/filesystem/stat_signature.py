"""Whether a file is still as it was when it was read, told from its status alone where that can be trusted.

A change moves the file's ctime, which nobody can forge, but by a clock that ticks: a file that was changed in the same
tick in which it was read looks unchanged. So, as git does, a status is not trusted for a file changed that recently.
"""

from __future__ import annotations

import os

import msgspec

_TICK = 100_000_000
"""Longer, in nanoseconds, than any tick of a kernel's clock; file systems that keep fractions of seconds use it."""
_COARSE_TICK = 2_000_000_000
_SECOND = 1_000_000_000


class StatSignature(msgspec.Struct, frozen=True):
    """What a file looked like, and when."""

    identity: tuple[int, ...]
    changed: int
    taken: int
    """Both in nanoseconds of the time of day: when the file was changed last, and when its content was looked at."""

    @classmethod
    def of(cls, status: os.stat_result, taken: int) -> StatSignature:
        """Return what a status shows; `taken` is from before the content was read."""
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return cls(identity, status.st_ctime_ns, taken)

    def is_of(self, status: os.stat_result) -> bool:
        """Tell whether a file looks the same now."""
        return self.identity == StatSignature.of(status, 0).identity

    @property
    def is_sure(self) -> bool:
        """Whether looking the same means being the same."""
        tick = _TICK if self.changed % _SECOND else _COARSE_TICK
        return abs(self.taken - self.changed) > tick
