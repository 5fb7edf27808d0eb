"""Erasures killed with -9 at each step, in a program of its own: python -m tests.support.killed_erasures VENDOR DIRECTORY.

Prints a JSON object: for each step, what was wrong afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import django

from tests.support.erasing import count_of
from tests.torture.databases import migrated

STEPS = {
    "listed": ("orbsite.operations.records.erase", "erase_rows"),
    "rows gone": ("orbsite.operations.records.erase", "without_user"),
    "a document written": ("orbsite.storage.file.writer.Writer", "forget_previous"),
    "tombstones": ("orbsite.storage.file.tombstones.Tombstones", "filter"),
    "renaming": ("orbsite.operations.records.erase", "rename"),
    "clearing away": ("orbsite.operations.records.erase", "clear_away"),
}
"""What is about to be called when the program dies."""


def killed(step: str, base: Path) -> None:
    """Erase ana in a child that is killed."""
    from django.db import connections
    from django.utils.module_loading import import_string

    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            place, name = STEPS[step]
            target: Any = import_string(place) if place[place.rindex(".") + 1].isupper() else sys.modules[place]
            setattr(target, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            erase(base)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WTERMSIG(status) != signal.SIGKILL:
        raise RuntimeError(step)


def erase(base: Path) -> Any:
    from orbsite.operations.records.erase import erase
    from orbsite.storage.clock import utc_now

    return erase(stores(base)[:2], "ana", base=base, now=utc_now)


def stores(base: Path) -> list[Any]:
    from orbsite.storage.records.domain import registered
    from orbsite.stores import file_store, open_sql_store

    domains = registered(["luna", "te"])
    return [open_sql_store(one) for one in domains] + [file_store(one, base) for one in domains]


def tried(step: str, base: Path, copy: Path) -> list[str]:
    """Kill an erasure at a step, and see what comes back, and whether the next one completes it."""
    from orbsite.operations.migration.migrate import migrate
    from orbsite.operations.retention.apply import retain
    from orbsite.storage.clock import utc_now
    from orbsite.storage.records.domain import registered
    from orbsite.storage.retention.policy import Policy
    from tests.operations.records.test_erase import CANARY, fill

    fill(base)
    shutil.copytree(base, copy)
    migrate(registered(["luna", "te"]), base, now=utc_now)
    retain([stores(base)[-1]], Policy(max_per_session=1), now=utc_now, force=True)  # which leaves tombstones
    others = sum(count_of(one, "bo") for one in stores(base))
    killed(step, base)
    before = sum(count_of(one, "ana") for one in stores(base)[:2])
    migrate(registered(["luna", "te"]), copy, now=utc_now)
    wrong = ["the user came back"] if sum(count_of(one, "ana") for one in stores(base)[:2]) > before else []
    report = erase(base)
    wrong += [] if report.ok else ["the second erasure was not well"]
    wrong += ["the user is there"] if any(count_of(one, "ana") for one in stores(base)) else []
    wrong += ["others are not"] if sum(count_of(one, "bo") for one in stores(base)) != others else []
    found = [path.name for path in base.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    named = json.dumps(report.as_json())
    return wrong + [f"{name} is not named" for name in found if name not in named]


def _free_pages(database: Any) -> list[str]:
    """Tell whether the file of a database still holds texts of what was erased, now that many pages are free."""
    from tests.operations.records.test_erase import CANARY

    path = getattr(database, "_path", None)
    return ["a page holds texts"] if path is not None and CANARY.encode() in path.read_bytes() else []


def main() -> None:
    vendor, work = sys.argv[1], Path(sys.argv[2])
    (work / "database").mkdir(parents=True)
    with migrated(vendor, work / "database") as database:
        os.environ |= {"DATABASE_URL": database.address, "DEBUG": "true", "ORB_PERSISTENCE": "sql"}
        os.environ["DJANGO_SETTINGS_MODULE"] = "orbsite.settings"
        django.setup()
        from django.conf import settings
        from django.db import connection

        wrong = {}
        for number, step in enumerate(STEPS):
            base = work / f"data-{number}"
            settings.ORB_DATA_DIR = str(base)
            wrong[step] = tried(step, base, work / f"copy-{number}")
            for one in stores(base)[:2]:
                for kind in one.domain.kinds:
                    one.delete_where(kind, {"user_id": "bo"})
        connection.close()
        wrong["free pages"] = _free_pages(database)
    print(json.dumps(wrong))  # noqa: T201


if __name__ == "__main__":
    main()
