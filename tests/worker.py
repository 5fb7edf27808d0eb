"""Another process for tests: python -m tests.worker save|hold DIRECTORY [ID...]."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import django


def save(base: Path, names: list[str]) -> None:
    from orbsite.storage.clock import utc_now
    from te.records import Reflection
    from te.stores import FileTeReflectionStore

    log = FileTeReflectionStore(base)
    for name in names:
        log.save_reflection(Reflection(id=name, input="i", output="o", tags=(), created_at=utc_now()), "ana", "shared")


def hold(base: Path, _: list[str]) -> None:
    from orbsite.storage.directory import Directory
    from orbsite.storage.lock import locked

    with Directory.open(base) as directory, locked(directory, "x", 5):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        time.sleep(60)


if __name__ == "__main__":
    django.setup()
    {"save": save, "hold": hold}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:])
