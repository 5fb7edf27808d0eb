"""Kills a process, or fails it, at each of its calls to the system in turn, until it ends without a fault.

python -m tests.torture.faults kill|error|sync|compound DIRECTORY SCENES SEED ROUNDS [MUTANT], where SCENES is what
their names begin with. Prints a JSON object.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import django

ERRORS = ["EIO", "ENOSPC", "EDQUOT", "EACCES", "EMFILE"]
KILL = "signal=SIGKILL"
LONG = 1000
"""Rounds from which a run is a long one."""
_SYNC = re.compile(r"^(fsync|fdatasync)\((\d+)<([^>]*)>")
_CLOSE = re.compile(r"^close\((\d+)<")
_ACT_BEGINS = "pwrite64("
"""What a process says of itself in the lock."""
_RENAMED = re.compile(r'^rename.*"(reflections\.json(\.journal)?)"')


class Enough(Exception):
    """A mutant was found out."""


@dataclass
class Result:
    runs: int = 0
    faults: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    is_enough: bool = False
    """Whether one violation is enough."""

    def count(self, outcomes: list[str], *, hit: bool) -> None:
        self.runs += 1
        self.faults += hit
        self.outcomes.update(outcomes)

    def end(self, ledger: Ledger, *said: object) -> None:
        """Have another process go on, and keep what was wrong with all of it."""
        ledger.goes_on()
        self.violations += [f"{' '.join(map(str, said))}: {one}" for one in ledger.problems]
        if self.is_enough and self.violations:
            raise Enough

    def print(self) -> None:
        counts = {"runs": self.runs, "faults": self.faults, "outcomes": dict(self.outcomes)}
        print(json.dumps({**counts, "violations": self.violations}))  # noqa: T201


class Harness:
    """Has every run begin with the same content, and counts."""

    def __init__(self, work: Path) -> None:
        self.work, self.result = work, Result()
        self.contents: dict[str, Content] = {}
        for dataset in SCENES:
            self.contents[dataset.name] = dataset.prepare(work / dataset.name)

    def start(self, dataset: Scenario) -> Ledger:
        base = fresh(self.work / dataset.name, self.work / "data")
        return Ledger(base, dataset.above, dict(self.contents[dataset.name]))

    def go(self, dataset: Scenario, ledger: Ledger, *inject: str, calls: tuple[str, ...] = ()) -> Run:
        ended = run(dataset, ledger, self.work, *inject, calls=calls)
        self.result.count(ended.outcomes, hit=ended.hit)
        return ended

    def each(self, dataset: Scenario, call: str, fault: str, more: str = "") -> None:
        """Let the first such call fail, then the second, and so on until there is none left."""
        for number in itertools.count(1):
            ledger, inject = self.start(dataset), f"{call}:{fault}:when={number}{more}"
            ended = self.go(dataset, ledger, inject)
            self.result.end(ledger, dataset.name, inject)
            if not ended.hit:
                return

    def clean(self, dataset: Scenario) -> Counter[str]:
        """Return how often a process makes each call where nothing fails."""
        ledger = self.start(dataset)
        ended = self.go(dataset, ledger)
        if set(ended.outcomes) != {"done"}:
            ledger.problems.append(f"not everything works: {ended.outcomes}")
        self.result.end(ledger, dataset.name, "without a fault")
        return ended.counts()


def kill(harness: Harness, draw: random.Random, rounds: int) -> None:
    for dataset in SCENES:
        for call in harness.clean(dataset):
            harness.each(dataset, call, KILL)


def error(harness: Harness, draw: random.Random, rounds: int) -> None:
    """Fail each call with one of the errors once, with one for ever, and with EINTR; in a long run, with all of them."""
    for dataset in SCENES:
        for call in harness.clean(dataset):
            for more in ("", "+"):
                for name in ERRORS if rounds >= LONG else [draw.choice(ERRORS)]:
                    harness.each(dataset, call, f"error={name}", more)
            harness.each(dataset, call, "error=EINTR")


def sync(harness: Harness, draw: random.Random, rounds: int) -> None:
    for dataset in SCENES:
        for call in ("fsync", "fdatasync"):
            for number in itertools.count(1):
                ledger, inject = harness.start(dataset), [f"{call}:error=EIO:when={number}"]
                ended = harness.go(dataset, ledger, *inject, calls=("close",))
                ledger.problems += _told_wrongly(dataset, ended)
                harness.result.end(ledger, dataset.name, *inject)
                if not ended.hit:
                    break
    for dataset in SCENES:
        if dataset.name == "journal":
            neither_synced_nor_cut(harness, dataset)


def neither_synced_nor_cut(harness: Harness, dataset: Scenario) -> None:
    """Fail a line's sync, and then the cut that takes it back: nobody knows what became of it."""
    for number in range(1, 4):
        ledger = harness.start(dataset)
        inject = [f"fdatasync:error=EIO:when={number}", "ftruncate:error=EIO:when=1"]
        ended = harness.go(dataset, ledger, *inject)
        if "SaveOutcomeUnknown" not in ended.outcomes:
            ledger.problems.append(f"neither synced nor cut: {ended.outcomes}")
        harness.result.end(ledger, dataset.name, *inject)


def _told_wrongly(dataset: Scenario, ended: Run) -> Iterator[str]:
    """Yield what is wrong with the outcome that was told, and each second sync of a descriptor that failed one."""
    failed: set[str] = set()
    renamed = False
    for line in ended.log:
        renamed = (renamed or _RENAMED.match(line) is not None) and not line.startswith(_ACT_BEGINS)
        if closed := _CLOSE.match(line):
            failed.discard(closed[1])
        if not (synced := _SYNC.match(line)):
            continue
        if synced[2] in failed:
            yield f"synced again after an error: {line}"
        if "(INJECTED)" in line:
            failed.add(synced[2])
            told = next((one for one in ended.outcomes if one != "done"), "done")
            wanted = _wanted(synced[3], renamed=renamed)
            if told not in wanted and dataset.name != "journal-due":  # where a fold that fails is nobody's failure
                yield f"{told} instead of {' or '.join(wanted)} after {line}"


def _wanted(path: str, *, renamed: bool) -> list[str]:
    """Return what to say where this could not be synced, after something took the place of the document or not."""
    if Path(path).suffix:
        return ["SaveFailed"]
    return (
        ["SaveOutcomeUnknown"] if renamed else ["SaveFailed", "DocumentRefused"]
    )  # a directory with nothing in it yet


def compound(harness: Harness, draw: random.Random, rounds: int) -> None:
    """Let a process fail, the next one while it clears that up, and the one after that as well."""
    counts = {dataset.name: harness.clean(dataset) for dataset in SCENES}
    for _ in range(rounds):
        dataset = draw.choice(SCENES)
        ledger, said = harness.start(dataset), []
        for follower in (dataset, draw.choice(SCENES), draw.choice(SCENES)):
            ledger.above = follower.above
            said.append(f"{follower.name} {(inject := _somewhere(draw, counts[follower.name]))};")
            harness.go(follower, ledger, inject)
        harness.result.end(ledger, dataset.name, *said)


def _somewhere(draw: random.Random, counts: Counter[str]) -> str:
    call = draw.choice(list(counts.elements()))
    fault = draw.choice([KILL, KILL, f"error={draw.choice(ERRORS)}"])
    return f"{call}:{fault}:when={draw.randint(1, counts[call])}"


if __name__ == "__main__":
    django.setup()

    from tests.torture.mutants import put_on
    from tests.torture.oracle import Content, Ledger
    from tests.torture.scenarios import SCENES, Scenario
    from tests.torture.traced import Run, fresh, run

    logging.disable()
    part, seed, rounds = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    put_on(sys.argv[6:])
    SCENES = [dataset for dataset in SCENES if dataset.name.startswith(part)]
    one = Harness(Path(sys.argv[2]))
    one.result.is_enough = bool(sys.argv[6:])
    with contextlib.suppress(Enough):
        {"kill": kill, "error": error, "sync": sync, "compound": compound}[sys.argv[1]](
            one, random.Random(seed), rounds
        )
    one.result.print()
