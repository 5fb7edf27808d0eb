"""What a policy would remove of one kind in one store: found out, told of, and refused where it is too much."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from orbsite.operations.book import key_text
from orbsite.operations.compact import MOST
from orbsite.operations.progress import Progress
from orbsite.operations.report import Report, Section
from orbsite.storage.errors import ClockJumped, TooMuch
from orbsite.storage.finding import warning
from orbsite.storage.instant import spell
from orbsite.storage.record import Key, Record
from orbsite.storage.retention import Policy
from orbsite.storage.store import Store

_LISTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a removal is to be done."""

    actor: str
    force: bool
    deadline: float | None
    """The moment of a monotonic clock after which no other batch is begun."""
    pause: float
    """The seconds between batches."""


class Weighed(ABC):
    """What goes of one kind in one store."""

    section: Section

    def __init__(self, store: Store, kind: type[Record], policy: Policy, moment: datetime) -> None:
        self.store, self.kind, self.policy, self.moment = store, kind, policy, moment
        self.total = self.number = 0
        self.newest: datetime | None = None

    @abstractmethod
    def look(self, *, exactly: bool) -> None:
        """Find out what goes; where that is found out again before it goes, only if asked to."""

    @abstractmethod
    def remove(self, report: Report, terms: Terms, progress: Progress) -> None:
        """Remove it, each record after its tombstone."""

    @abstractmethod
    def going(self) -> Iterator[tuple[Key, str]]:
        """Yield the keys of what goes, and why."""

    def close(self) -> None:  # noqa: B027 -- memory has nothing to forget
        """Forget what was found out."""

    def refuse(self) -> None:
        """Raise ClockJumped or TooMuch where nobody should remove this without being sure."""
        why = self._clock() or self._too_much()
        if why is not None:
            raise why

    def tell(self, *, force: bool) -> None:
        """Say what would go, and why."""
        self._count(0)
        listed = list(islice(self.going(), _LISTED))
        findings = self.section.findings
        findings += [warning(f"{self.kind.plural} {key_text(key)}", f"would go: {why}") for key, why in listed]
        if self.number > len(listed):
            more = f"{self.number - len(listed)} more would go; --explain ID tells of any of them"
            findings.append(warning(self.kind.plural, more))
        for problem in () if force else (self._clock(), self._too_much()):
            if problem is not None:
                findings.append(warning(self.kind.plural, f"nothing would go without --force: {problem}"))
        self.section.facts["would_go"] = self.section.facts.get("would_go", 0) + self.number

    def _count(self, removed: int) -> None:
        name = self.kind.plural
        self.section.count(name, "read", self.total)
        self.section.count(name, "kept", self.total - removed)
        self.section.count(name, "removed", removed)

    def _clock(self) -> ClockJumped | None:
        if self.newest is None or not self.policy.distrusts(self.moment, self.newest):
            return None
        return ClockJumped(
            f"it is {spell(self.moment)}, and the newest of the {self.kind.plural} is of {spell(self.newest)}: either "
            "the clock has jumped back, or that record is wrong; nothing was removed. Set the clock, or use --force"
        )

    def _too_much(self) -> TooMuch | None:
        if self.number <= MOST * self.total:
            return None
        return TooMuch(
            f"{self.number} of {self.total} {self.kind.plural} would go, more than a fifth; nothing was removed. "
            "Look at them with --dry-run, and run this again with --force"
        )

    def _left(self, number: int, why: str) -> None:
        if number:
            self.section.findings.append(warning(self.kind.plural, f"{number} {why}"))
