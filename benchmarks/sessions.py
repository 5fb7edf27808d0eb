"""Measures exports, undo and erasure of a user with many sessions. The cost per session must stay constant.

python -m benchmarks.sessions [NUMBER OF SESSIONS ...]
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.figures import Bar, Figure, figure
from benchmarks.processes import PRODUCTION
from benchmarks.timing import cost

TITLE = "Many sessions of one user"
NOTES = """
The sizes are numbers of sessions, with two reflections each. Seconds are those of the processor.
"""
SIZES = (5_000, 10_000, 20_000)
GROWTH = Bar(2.3)
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


def costs(make: Callable[[int, Path], Callable[[], object]], size: int, work: Path) -> list[float]:
    """Return the seconds of the processor that a step takes in each round."""
    return [cost(make(size, work / f"{make.__name__}-{size}-{at}"))["cpu"] for at in range(ROUNDS)]


def measure(size: int, before: dict[str, float], work: Path) -> list[Figure]:
    """Return the figures of a size, compared with those of half of it."""
    found = []
    for name, make in STEPS.items():
        times = costs(make, size, work)
        over = before.get(name)
        found.append(figure(name, times, over=over, peer="x half of them", bar=GROWTH if over else None))
        before[name] = found[-1].value
    return found


def main() -> None:
    """Record the times by number of sessions, and their growth."""
    import django

    os.environ |= {"DJANGO_SETTINGS_MODULE": "orbsite.settings", "DATABASE_URL": "sqlite:///:memory:", **PRODUCTION}
    django.setup()
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    before: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=".") as work:
        found = {size: measure(size, before, Path(work).resolve()) for size in sizes}
    for size, measured in found.items():
        figures.record("sessions", size, "", measured)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
