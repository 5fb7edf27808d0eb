"""What a policy would remove of one kind in one store: found out, told of, and refused where it is too much."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from orbsite.operations.files.compact import MOST
from orbsite.operations.ledger.change_log import key_text
from orbsite.operations.progress import Progress
from orbsite.operations.report import Report, Section
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.errors import ClockJumped, OrbError, TooMuch
from orbsite.storage.findings import Finding, warning
from orbsite.storage.records.record import Key, Record
from orbsite.storage.retention.future_records import Dated, Future
from orbsite.storage.retention.policy import Policy

FORCE, TRUST_CLOCK = "--force", "--trust-clock"
"""The flags that switch off a guard each."""
_LISTED = 10_000
_NAMED = 3
"""So many records an error names; the findings name more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sure:
    """Which guards somebody has switched off, each by a flag of its own."""

    force: bool = False
    """Remove more than a fifth."""
    trust_clock: bool = False
    """Believe the clock, whatever speaks against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a removal is to be done."""

    actor: str
    sure: Sure
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
        self.future = Future()
        self.noted: datetime | None = None
        """When the last run over this data was, as far as that is noted."""

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

    def refuse(self, sure: Sure) -> None:
        """Raise ClockJumped or TooMuch where nobody should remove this without being sure."""
        for why, _ in self._objections(sure):
            raise why

    def tell(self, sure: Sure) -> None:
        """Say what would go, and why."""
        self._count(0)
        listed = list(islice(self.going(), _LISTED))
        findings = self.section.findings
        findings += [warning(f"{self.kind.plural} {key_text(key)}", f"would go: {why}") for key, why in listed]
        if self.number > len(listed):
            more = f"{self.number - len(listed)} more would go; --explain ID tells of any of them"
            findings.append(warning(self.kind.plural, more))
        for problem, flag in self._objections(sure):
            findings.append(warning(self.kind.plural, f"nothing would go without {flag}: {problem}"))
        self._tell_of_the_future()
        self.section.facts["would_go"] = self.section.facts.get("would_go", 0) + self.number

    def _count(self, removed: int) -> None:
        name = self.kind.plural
        self.section.count(name, "read", self.total)
        self.section.count(name, "kept", self.total - removed)
        self.section.count(name, "removed", removed)

    def _objections(self, sure: Sure) -> Iterator[tuple[OrbError, str]]:
        """Yield why nothing should go, and the flag that says that it should all the same."""
        problem = (
            None if sure.trust_clock else clock_problem(self.kind, self.policy, self.moment, self.future, self.noted)
        )
        if problem is not None:
            yield problem, TRUST_CLOCK
        too_much = None if sure.force else self._too_much()
        if too_much is not None:
            yield too_much, FORCE

    def _too_much(self) -> TooMuch | None:
        if self.number <= MOST * self.total:
            return None
        return TooMuch(
            f"{self.number} of {self.total} {self.kind.plural} would go, more than a fifth; nothing was removed. "
            f"Look at them with --dry-run, and run this again with {FORCE}"
        )

    def _tell_of_the_future(self) -> None:
        """Name records from the future, which stay."""
        self.section.findings += findings_of_the_future(self.kind, self.future)

    def _left(self, number: int, why: str) -> None:
        if number:
            self.section.findings.append(warning(self.kind.plural, f"{number} {why}"))


def clock_problem(
    kind: type[Record], policy: Policy, moment: datetime, future: Future, noted: datetime | None
) -> ClockJumped | None:
    """Return why this machine's clock is not to be believed; None where nothing speaks against it.

    One record from the future is no reason: the clock of whoever wrote it may have been wrong.
    """
    ahead = policy.ahead(moment)
    if ahead is None:
        return None
    end = f"nothing was removed. Set the clock; where it is right, run this again with {TRUST_CLOCK}"
    if noted is not None and noted > ahead:
        return ClockJumped(
            f"it is {spell(moment)}, and the last run was at {spell(noted)}: the clock has jumped back; {end}"
        )
    if not future.is_widespread:
        return None
    named = ", ".join(_named(kind, one) for one in future.some[:_NAMED])
    more = f" and {future.number - _NAMED} more" if future.number > _NAMED else ""
    return ClockJumped(
        f"it is {spell(moment)}, and most of the newest {kind.plural} are from the future ({named}{more}): the clock "
        f"has jumped back, or these are wrong; {end}"
    )


def findings_of_the_future(kind: type[Record], future: Future) -> list[Finding]:
    """Return a warning for each of the newest records from the future, and one for how many more there are."""
    found = [
        warning(
            f"{kind.plural} {key_text(one.key)}",
            f"is of {spell(one.moment)}, in the future (user {one.user!r}): it stays; correct its time, or remove it",
        )
        for one in future.some
    ]
    if future.number > len(found):
        found.append(warning(kind.plural, f"{future.number - len(found)} more are from the future, and stay"))
    return found


def _named(kind: type[Record], one: Dated) -> str:
    return f"{kind.plural} {key_text(one.key)} of user {one.user!r}, {spell(one.moment)}"
