"""Runs retention, and waits for a line before it goes on: python -m tests.support.policies STORE DIRECTORY HOLD.

HOLD is where it says `here` and waits for a line, or to be killed: `tombstones`, once the tombstone file is there; `document`, before the document is
replaced; `batches`, after each batch in SQL; or `nothing`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django


def held(owner: Any, name: str, *, before: bool) -> None:
    act: Callable[..., Any] = getattr(owner, name)

    def waiting(*arguments: Any, **options: Any) -> Any:
        if before:
            hold()
        result = act(*arguments, **options)
        if not before:
            hold()
        return result

    setattr(owner, name, waiting)


def hold() -> None:
    sys.stdout.write("here\n")
    sys.stdout.flush()
    sys.stdin.readline()


def main() -> None:
    django.setup()
    from orbsite.operations.retention import removal
    from orbsite.operations.retention.apply import retain
    from orbsite.storage.file.tombstones import Tombstones
    from orbsite.storage.filesystem.atomic_replace import Successor
    from orbsite.storage.sql.retention.deletion import RetentionDeletion
    from orbsite.stores import open_file_store, open_sql_store
    from te.domain import DOMAIN
    from te.retention import guides_policy
    from tests.operations.retention.policies import NOW

    kind, base, where = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if where == "tombstones":
        held(Tombstones, "write", before=False)
    elif where == "document":
        held(Successor, "swap", before=True)
    elif where == "batches":
        removal._FIRST = removal._LEAST = removal._MOST = 10
        held(RetentionDeletion, "done", before=False)
    store = open_file_store(DOMAIN, base) if kind == "file" else open_sql_store(DOMAIN)
    retain([store], guides_policy(), now=lambda: NOW, force=True)


if __name__ == "__main__":
    main()
