"""Measures what one data directory costs in a bulk migration of many.

python -m benchmarks.bulk_migration [DIRECTORIES ...]

Migrates each number of small directories into a new SQLite database by one worker, and records, in milliseconds of
processor time, the cost of a directory in the first and in the last tenth, of the totals, and of the whole report.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.figures import Figure, figure
from tests.support.killed_bulk_migration import plant

TITLE = "A bulk migration of many directories"
NOTES = """
The sizes are numbers of small directories, which one worker migrates. Times are of the processor. A directory that
costs more among more of them would make the cost of all a square.
"""
USUAL = (200, 1000)


def measured(number: int, work: Path) -> list[Figure]:
    """Migrate that many directories, and return the figures."""
    from django.core.management import call_command

    from orbsite.operations.bulk_migration.begin import Options, begin
    from orbsite.operations.bulk_migration.status import status, totals
    from orbsite.operations.bulk_migration.work import work as work_on
    from orbsite.operations.progress import Progress
    from orbsite.storage.clock import utc_now

    call_command("flush", interactive=False, verbosity=0)
    for one in range(number):
        plant(work / str(number), one)
    moments = [time.process_time()]

    class Noting(Progress):
        def __call__(self, records: int) -> None:
            if records:
                moments.append(time.process_time())

    bulk, _ = begin(work / str(number), Options(), now=utc_now)
    work_on(bulk, now=utc_now, waits=True, progress=Noting())
    part = number // 10
    first, last = (moments[part] - moments[0]) / part, (moments[-1] - moments[-1 - part]) / part
    return [
        figure("a directory of the first tenth", first, "ms"),
        figure("a directory of the last tenth", last, "ms", over=first, peer="x one of the first"),
        figure("the totals", _seconds(lambda: totals(bulk)), "ms"),
        figure("the whole report", _seconds(lambda: status(bulk)), "ms"),
    ]


def _seconds(act: Callable[[], Any]) -> float:
    """Return the seconds of the processor that a call takes."""
    began = time.process_time()
    act()
    return time.process_time() - began


def main() -> None:
    """Measure each number of directories in one database."""
    numbers = [int(one) for one in sys.argv[1:]] or USUAL
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        os.environ |= {"DATABASE_URL": f"sqlite:///{work}/orb.sqlite3", "DEBUG": "true"}
        os.environ |= {"ORB_ALLOW_SQLITE": "true", "DJANGO_SETTINGS_MODULE": "orbsite.settings"}
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        for number in numbers:
            figures.record("bulk_migration", number, figures.SQLITE, measured(number, work))


if __name__ == "__main__":
    main()
