"""Order-independent checksums of many records: two stores with equal records have equal checksums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

_MODULUS = 1 << 256


@dataclass(slots=True)
class Sums:
    """The number of records of each user, and the sum of their digests modulo 2**256."""

    of_users: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, user: str, digest: str | None) -> None:
        """Add a record by its digest; None is for a record that does not decode and equals no other."""
        count, total = self.of_users.get(user, (0, 0))
        self.of_users[user] = count + 1, (total + int(digest or "1", 16)) % _MODULUS

    def add_all(self, users: Iterable[str], digests: Iterable[str | None]) -> None:
        """Add records by their users and digests, fastest where the records of a user follow each other."""
        for user, group in groupby(zip(users, digests, strict=True), itemgetter(0)):
            numbers = [int(digest or "1", 16) for _, digest in group]
            count, total = self.of_users.get(user, (0, 0))
            self.of_users[user] = count + len(numbers), (total + sum(numbers)) % _MODULUS

    def merge(self, other: Sums) -> None:
        """Add all records of other checksums."""
        for user, (more, added) in other.of_users.items():
            count, total = self.of_users.get(user, (0, 0))
            self.of_users[user] = count + more, (total + added) % _MODULUS

    def differing(self, other: Sums) -> Iterator[str]:
        """Yield the users whose checksums differ."""
        for user in dict.fromkeys((*self.of_users, *other.of_users)):
            if self.of_users.get(user) != other.of_users.get(user):
                yield user

    @property
    def records(self) -> int:
        """The number of records of all users."""
        return sum(count for count, _ in self.of_users.values())

    @property
    def digest(self) -> str:
        """The sum over all users, in hex."""
        return f"{sum(total for _, total in self.of_users.values()) % _MODULUS:064x}"
