"""Measures what one data directory costs in a bulk migration of many.

python -m benchmarks.bulk_migration [DIRECTORIES ...]

Migrates each number of small directories into a new SQLite database by one worker, and prints, in milliseconds of
processor time, the cost of a directory in the first and in the last tenth, of the totals, and of the whole report. A
directory that costs more among more of them would make the cost of all a square.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.killed_bulk_migration import plant

USUAL = (200, 1000)


def measured(number: int, work: Path) -> dict[str, float]:
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
    return {
        "directories": number,
        "first tenth": 1000 * (moments[part] - moments[0]) / part,
        "last tenth": 1000 * (moments[-1] - moments[-1 - part]) / part,
        "totals": _milliseconds(lambda: totals(bulk)),
        "report": _milliseconds(lambda: status(bulk)),
    }


def _milliseconds(act: Callable[[], Any]) -> float:
    began = time.process_time()
    act()
    return 1000 * (time.process_time() - began)


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
            print(", ".join(f"{name} {value:.1f}" for name, value in measured(number, work).items()), flush=True)


if __name__ == "__main__":
    main()
