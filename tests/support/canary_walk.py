"""Works with a text in every way that the project knows, in a process of its own: python -m tests.support.canary_walk CANARY."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any


def main(canary: str) -> None:
    """Save, edit, migrate, reject, remove, restore, compact, back up, export, send and index the text."""
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    from orbsite.models.ledger import Run
    from orbsite.operations.backup.create import backup
    from orbsite.operations.files.export import export
    from orbsite.operations.ledger.manual_changes import Actor
    from orbsite.operations.ledger.tombstones import undo
    from orbsite.operations.migration.migrate import migrate
    from orbsite.operations.records.delete import remove
    from orbsite.operations.records.edit import edit
    from orbsite.operations.retention.apply import retain
    from orbsite.operations.search_index import index
    from orbsite.storage.clock import utc_now
    from orbsite.storage.records.domain import registered
    from orbsite.storage.retention.policy import Policy
    from orbsite.storage.sql.store import SqlStore
    from orbsite.stores import file_store
    from tests.support.factories import ProfileFactory, ReflectionFactory

    call_command("migrate", verbosity=0)
    base = Path(settings.ORB_DATA_DIR)
    luna, te = registered(["luna", "te"])
    fields: dict[str, Any] = {"user_id": "ana", "session_id": "s", "output": canary, "notes": canary}
    files = file_store(te, base)
    files.put([ReflectionFactory(id=f"f{number}", input=f"{canary} {number}", **fields) for number in range(40)])
    file_store(luna, base).put([ProfileFactory(user_id="ana", mode_id="m", preferences=(canary,), extra={"x": canary})])
    tree = json.loads(files.snapshot() or b"")
    tree["sessions"]["s"].append({"id": "rejected", "input": 5, "output": canary})
    files.replace(json.dumps(tree).encode())
    migrate([luna, te], base, now=utc_now)
    store = SqlStore(te)
    store.put([ReflectionFactory(id="saved", input=canary, **fields)])
    edit(store, ReflectionFactory(id="saved", input=f"{canary} edited", **fields), hand=_by(Actor, utc_now()))
    files.put([ReflectionFactory(id="f1", input=f"{canary} changed", **fields)])
    migrate([luna, te], base, now=utc_now)
    remove(store, store.domain.kinds[0], [("ana", "f2")], hand=_by(Actor, utc_now()))
    run = retain([store], Policy(max_per_session=10), now=utc_now, force=True).run
    undo(str(run), [store], now=utc_now)
    retain([store], Policy(max_per_session=20), now=utc_now, force=True)
    retain([files], Policy(max_per_session=30), now=utc_now, force=True)
    backup([luna, te], base, Path(settings.ORB_BACKUP_DIR), now=utc_now)
    export([store], base.parent / "export")
    index([luna, te], now=utc_now)
    _send(canary)
    with contextlib.suppress(SystemExit):  # it finds the rejected item
        call_command("validate_orb_files", "--format", "json")
    done = {"runs": Run.objects.count(), "records": store.count(store.domain.kinds[0])}
    sys.stdout.write(json.dumps(done) + "\n")


def erase() -> None:
    """Erase the user."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("erase_orb_user", "--user", "ana", "--apply", "--format", "json")


def _by(actor: Any, at: Any) -> Any:
    return actor(actor="root", at=at)


def _send(canary: str) -> None:
    """Create a profile over HTTP, twice with one key, and search for the text."""
    from django.test import Client

    from orbsite.models.api_tokens import Token, issue
    from orbsite.storage.clock import utc_now

    token = issue(Token(name="canary", scopes=["read", "write"], users=["ana"]), utc_now())
    client, headers = Client(), {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"}
    body = json.dumps({"modeId": "sent", "preferences": [canary], "constraints": []})
    for _ in range(2):
        answer = client.post("/api/v1/users/ana/profiles", body, content_type="application/json", headers=headers)
        if answer.status_code != 201:
            raise SystemExit(answer.content.decode())
    client.get(f"/api/v1/users/ana/reflections?search={canary}", headers=headers)


if __name__ == "__main__":
    erase() if sys.argv[1] == "--erase" else main(sys.argv[1])
