"""Lets a process run out of something: bytes, inodes, file size, memory, descriptors, or room in one write.

python -m tests.torture.exhaustion bytes|inodes|size|short|memory|coder|descriptors DIRECTORY SEED ROUNDS [MUTANT]; the
first two under `unshare -m`, for they mount, short with the shim preloaded, and memory with an allocator that gives
back what is free. Prints a JSON object.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import mmap
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import django

PAGE = 4096
MODES = {"file": None, "journal": 0}


class Harness:
    def __init__(self, work: Path, draw: random.Random) -> None:
        self.work, self.draw, self.result = work, draw, Result()

    def start(self, dataset: Scenario) -> Ledger:
        template = self.work / dataset.build.__name__
        if not template.exists():
            dataset.prepare(template)
        base = fresh(template, self.work / "data")
        return Ledger(base, dataset.above, content_of(open_store(base, dataset.above)))

    def go(self, dataset: Scenario, ledger: Ledger, *said: object, may_crash: bool = False) -> Run:
        """Have a process act, whose last act is under no limit any more and has to work; and then another one."""
        ended = follow(dataset, ledger, lambda _: contextlib.nullcontext(), may_crash=may_crash)
        if ended.outcomes[-1:] != (["killed"] if may_crash and "killed" in ended.outcomes else ["done"]):
            ledger.problems.append(f"the last act: {ended.outcomes}")
        self.result.count(ended.outcomes, hit=set(ended.outcomes) != {"done"})
        self.result.end(ledger, dataset.name, *said)
        return ended

    def acts(self, number: int, size: int) -> tuple[Act, ...]:
        """Return changes of records of up to so many characters; the last one makes a small record."""
        draw, acts = self.draw, []
        for one in range(number):
            name = f"k{draw.randrange(8)}"
            text = str(one) + "x" * draw.randrange(size)
            acts.append(draw.choice([("delete", name), ("fold",), *[("put", name, text)] * 8]))
        return (*acts, ("put", "last", "l"))


def space(harness: Harness, rounds: int, option: str) -> None:
    """Use a file system of a few pages, or of a few inodes, up."""
    place = harness.work / "small"
    place.mkdir()
    harness.work = place
    for number in range(rounds):
        amount = harness.draw.randrange(5, 16) * PAGE if option == "size" else harness.draw.randrange(4, 13)
        mount("-t", "tmpfs", "-o", f"mode=0700,{option}={amount}", "tmpfs", place)
        try:
            mode = list(MODES)[number % 2]
            acts = harness.acts(24, 2500)
            more = functools.partial(mount, "-o", "remount,size=1m,nr_inodes=1000", place)
            dataset = Scenario(mode, MODES[mode], nothing, acts, at_last=more)
            harness.go(dataset, harness.start(dataset), f"{option}={amount}")
        finally:
            subprocess.run(["umount", place], check=True)


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def size(harness: Harness, rounds: int) -> None:
    """Allow files of a few thousand bytes."""
    for number in range(rounds):
        mode = list(MODES)[number % 2]
        most = harness.draw.randrange(300, 9000)
        limit, relieve = _limits(resource.RLIMIT_FSIZE, lambda most=most: most)
        dataset = Scenario(mode, MODES[mode], nothing, harness.acts(20, 2000), limit=limit, relieve=relieve)
        harness.go(dataset, harness.start(dataset), most)


def short(harness: Harness, rounds: int) -> None:
    """Do nothing about it: the shim is there already, and everything has to work."""
    for number in range(rounds):
        mode = list(MODES)[number % 2]
        dataset = Scenario(mode, MODES[mode], nothing, harness.acts(10, 500))
        ledger = harness.start(dataset)
        ended = harness.go(dataset, ledger)
        if set(ended.outcomes) != {"done"}:
            harness.result.violations.append(f"{mode}: not everything works: {ended.outcomes}")


def memory(harness: Harness, rounds: int) -> None:
    """Allow a little more address space than there is, in growing steps, with a document of two megabytes.

    The JSON coder itself crashes at some of the steps, which counts like a kill.
    """
    acts = (("put", "a", "A" * 300_000), ("delete", "b"), ("fold",), ("put", "c", "c" * 3_000_000), ("put", "l", "l"))
    for number in range(2 * rounds):
        mode, step = list(MODES)[number % 2], number // 2 * (256 << 10)

        def most(step: int = step) -> int:
            return int(Path("/proc/self/statm").read_text().split()[0]) * PAGE + step

        limit, relieve = _limits(resource.RLIMIT_AS, most)
        dataset = Scenario(mode, MODES[mode], _large, acts, limit=limit, relieve=relieve)
        harness.go(dataset, harness.start(dataset), f"{step} bytes more", may_crash=True)


def _large(base: Path) -> None:
    store = open_store(base, None)
    store.put([reflection(f"r{number}", str(number) * 5_000) for number in range(100)])
    store.put([reflection("b", "b" * 1_000_000)])


def coder(harness: Harness, rounds: int) -> None:
    """Raise MemoryError at the first call of the JSON coder, then at the second, and so on."""
    for dataset in SCENES:
        calls, number = mmap.mmap(-1, 8), 0
        while number <= int.from_bytes(calls[:], "little"):
            number += 1
            calls[:] = bytes(8)
            limit = functools.partial(sys.setprofile, functools.partial(_count, calls, number))
            relieve = functools.partial(sys.setprofile, None)
            one = changed(dataset, limit=limit, relieve=relieve)
            harness.go(one, harness.start(one), f"call {number}")


def _count(calls: mmap.mmap, number: int, frame: FrameType, event: str, called: Any) -> None:
    if event != "c_call" or "msgspec" not in (called.__module__ or type(called.__self__).__module__):
        return
    count = int.from_bytes(calls[:], "little") + 1
    calls[:] = count.to_bytes(8, "little")
    if count == number:
        raise MemoryError


def descriptors(harness: Harness, rounds: int) -> None:
    """Allow so many more open files than there are."""
    for dataset in SCENES:
        for more in range(10):

            def most(more: int = more) -> int:
                free = os.dup(0)
                os.close(free)
                return free + more

            limit, relieve = _limits(resource.RLIMIT_NOFILE, most)
            one = changed(dataset, limit=limit, relieve=relieve)
            harness.go(one, harness.start(one), f"{more} more")


def _limits(what: int, most: Callable[[], int]) -> tuple[Callable[[], None], Callable[[], None]]:
    soft, hard = resource.getrlimit(what)
    return lambda: resource.setrlimit(what, (most(), hard)), lambda: resource.setrlimit(what, (soft, hard))


if __name__ == "__main__":
    django.setup()

    from dataclasses import replace as changed

    from tests.torture.faults import Enough, Result
    from tests.torture.mutants import put_on
    from tests.torture.oracle import Act, Ledger, content_of, open_store, reflection
    from tests.torture.scenarios import SCENES, Scenario, nothing
    from tests.torture.traced import Run, follow, fresh

    kinds = {"size": size, "short": short, "memory": memory, "coder": coder, "descriptors": descriptors}
    kinds["bytes"] = functools.partial(space, option="size")
    kinds["inodes"] = functools.partial(space, option="nr_inodes")
    logging.disable()
    put_on(sys.argv[5:])
    one = Harness(Path(sys.argv[2]), random.Random(int(sys.argv[3])))
    one.result.is_enough = bool(sys.argv[5:])
    with contextlib.suppress(Enough):
        kinds[sys.argv[1]](one, int(sys.argv[4]))
    one.result.print()
