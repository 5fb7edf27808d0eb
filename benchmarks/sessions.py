"""Measures exports, undo and erasure of a user with many sessions. The cost per session must stay constant.

python -m benchmarks.sessions [NUMBER OF SESSIONS ...]
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.migration import PRODUCTION

SIZES = (10_000, 20_000, 40_000)
LARGEST_GROWTH = 2.3
"""By which the cost may grow where the number of sessions doubles."""
ROUNDS = 3


def reflections(number: int) -> list[Any]:
    """Return two reflections for each session of one user."""
    from orbsite.storage.clock import utc_now
    from te.records import Reflection

    begin = utc_now() - timedelta(days=number)
    return [
        Reflection(
            id=f"{at:08}",
            user_id="ana",
            session_id=f"session-{at // 2}",
            input="input",
            output="output",
            tags=("a",),
            created_at=begin + timedelta(seconds=at),
        )
        for at in range(2 * number)
    ]


def exported(number: int, _: Path) -> Callable[[], object]:
    """Export the reflections from a memory store."""
    from orbsite.operations.files.export import document_of
    from orbsite.storage.base.snapshot import snapshots
    from orbsite.storage.memory.store import MemoryStore
    from te.domain import DOMAIN

    store = MemoryStore(DOMAIN)
    store.put(reflections(number))

    def export() -> bytes:
        with snapshots([store], "ana") as (taken,):
            return document_of(taken)

    return export


def _stored(number: int, base: Path) -> Any:
    from orbsite.stores import open_file_store
    from te.domain import DOMAIN

    base.mkdir(mode=0o700)
    store = open_file_store(DOMAIN, base)
    store.put(reflections(number))
    return store


def saved(number: int, base: Path) -> Callable[[], object]:
    """Save the reflections in a file at once."""
    return lambda: _stored(number, base)


def undone(number: int, base: Path) -> Callable[[], object]:
    """Restore in a file what retention removed: all reflections but one."""
    from orbsite.operations.ledger.tombstones import undo
    from orbsite.operations.retention.apply import retain
    from orbsite.storage.clock import utc_now
    from orbsite.storage.retention.policy import Policy

    store = _stored(number, base)
    report = retain([store], Policy(max_age_days=1), now=utc_now, force=True)
    return lambda: undo(report.tombstones[0], [store], now=utc_now)


def erased(number: int, base: Path) -> Callable[[], object]:
    """Delete all reflections of a user from a file."""
    from te.records import Reflection

    store = _stored(number, base)
    return lambda: store.delete_where(Reflection, {"user_id": "ana"})


STEPS = {"export": exported, "save": saved, "undo": undone, "erase": erased}


def seconds(make: Callable[[int, Path], Callable[[], object]], size: int, work: Path) -> float:
    """Return the least CPU time of a step, in seconds."""
    found = []
    for at in range(ROUNDS):
        act = make(size, work / f"{make.__name__}-{size}-{at}")
        gc.collect()
        gc.freeze()
        before = time.process_time()
        act()
        found.append(time.process_time() - before)
    return min(found)


def main() -> None:
    """Print the CPU time by number of sessions, and its growth."""
    import django

    os.environ |= {"DJANGO_SETTINGS_MODULE": "orbsite.settings", "DATABASE_URL": "sqlite:///:memory:", **PRODUCTION}
    django.setup()
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    slow = []
    with tempfile.TemporaryDirectory(dir=".") as work:
        for name, make in STEPS.items():
            times = [seconds(make, size, Path(work).resolve()) for size in sizes]
            growth = [after / before for before, after in pairwise(times)]
            figures = ", ".join(f"{size:,} sessions {took:.2f} s" for size, took in zip(sizes, times, strict=True))
            print(f"{name}: {figures}; x {', x '.join(f'{one:.2f}' for one in growth)}")
            slow += [name for one in growth if one > LARGEST_GROWTH]
    if slow:
        raise SystemExit(f"grows by more than {LARGEST_GROWTH} per doubling: {', '.join(dict.fromkeys(slow))}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
