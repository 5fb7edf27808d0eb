"""Erasures among all else that moves records, in a program of its own: python -m tests.support.erasing VENDOR DIRECTORY SEED ROUNDS.

Each round draws some acts, an erasure among them, and then tries to bring back all that there is. Prints a JSON object.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import django

from tests.torture.databases import migrated

USERS = ("ana", "bo")
CANARY = "canary-of"
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


class Round:
    """One round: a clock of its own, and what is known of who should be there."""

    def __init__(self, work: Path, draw: random.Random) -> None:
        from orbsite.storage.records.domain import registered

        self.base, self.backups, self.draw = work / "data", work / "backups", draw
        self.domains = registered(["luna", "te"])
        self._seconds, self._names = count(1), count(1)
        self.moment = BEGIN
        self.is_gone = False
        """Whether ana was erased, and has saved nothing since."""
        self.copies: list[Path] = []

    def now(self) -> datetime:
        self.moment = BEGIN + timedelta(seconds=next(self._seconds))
        return self.moment

    def stores(self) -> list[Any]:
        from orbsite.stores import file_store, open_sql_store

        return [open_sql_store(one) for one in self.domains] + [file_store(one, self.base) for one in self.domains]

    def save(self, user: str | None = None, store: Any = None) -> None:
        from luna.records import ActiveMode, Profile
        from te.records import Reflection

        user, at = user or self.draw.choice(USERS), self.now()
        store = store or self.draw.choice(self.stores())
        if store.domain.name == "te":
            name = f"{user}-{next(self._names)}"
            store.put(
                [
                    Reflection(
                        id=name, user_id=user, session_id=self.draw.choice("st"), input=f"{CANARY}-{user}", output="o",
                        tags=(), created_at=at,
                    )
                ]
            )  # fmt: skip
        else:
            profile = Profile(
                user_id=user, mode_id="m", preferences=(f"{CANARY}-{user}",), constraints=(), updated_at=at
            )
            store.put([profile, ActiveMode(user_id=user, mode_id="m")])
        self.is_gone = self.is_gone and user != "ana"

    def erase(self) -> None:
        from orbsite.operations.records.erase import erase

        before = [count_of(store, "bo") for store in self.stores()]
        report = erase(self.stores()[:2], "ana", base=self.base, now=self.now)
        if not report.ok or before != [count_of(store, "bo") for store in self.stores()]:
            raise RuntimeError(json.dumps(report.as_json()))
        self.is_gone = True

    def migrate(self) -> None:
        from orbsite.operations.migration.migrate import migrate

        migrate(self.domains, self.base, now=self.now)

    def copy(self) -> None:
        if self.base.exists():
            self.copies.append(Path(shutil.copytree(self.base, self.base.with_name(f"copy-{next(self._names)}"))))

    def compact(self) -> None:
        from orbsite.operations.retention.apply import retain
        from orbsite.storage.retention.policy import Policy

        te = [one for one in self.stores() if one.domain.name == "te"]
        retain([self.draw.choice(te)], Policy(max_per_session=1), now=self.now, force=True)

    def undo(self) -> None:
        from orbsite.models.ledger import Run
        from orbsite.operations.ledger.tombstones import REMOVALS, undo
        from orbsite.storage.file.tombstones import Tombstones

        te = [one for one in self.stores() if one.domain.name == "te"]
        for run in Run.objects.filter(operation__in=REMOVALS).values_list("pk", flat=True):
            undo(str(run), te[:1], now=self.now)
        for base in (self.base, *self.copies):
            for name in Tombstones(base).names():
                (self.base / ".orb/tombstones").mkdir(parents=True, exist_ok=True, mode=0o700)
                if base != self.base:
                    shutil.copy(base / ".orb/tombstones" / f"{name}.jsonl", self.base / ".orb/tombstones/")
                undo(name, te[1:], now=self.now)

    def rollback(self) -> None:
        from orbsite.models.ledger import Run
        from orbsite.operations.migration.rollback import REVERSIBLE, rollback

        for run in Run.objects.filter(operation__in=REVERSIBLE, state="complete").order_by("-id"):
            rollback(run.pk, self.domains, now=self.now, force=self.draw.random() < 0.5)

    def backup(self) -> None:
        from orbsite.operations.backup.create import backup

        backup(self.domains, self.base, self.backups, now=self.now)

    def restore(self) -> None:
        from orbsite.operations.backup.restore import restore

        for path in sorted(self.backups.glob("2*")):
            restore(self.domains, path, base=self.base, now=self.now, apply=True)

    def restore_removed(self) -> list[str]:
        """Try to bring back all that there is; tell after which act ana was there."""
        wrong = []
        from_copies = [partial(self._migrate_from, base) for base in self.copies]
        acts = [*from_copies, self.undo, self.migrate, self.restore, self.undo, self.rollback, self.undo, self.migrate]
        for number, act in enumerate(acts):
            self._tried(act)
            if any(count_of(store, "ana") for store in self.stores()):
                wrong.append(f"ana is back after {number} of {len(self.copies)} copies and more")
        return wrong

    def _migrate_from(self, base: Path) -> None:
        from orbsite.operations.migration.migrate import migrate

        migrate(self.domains, base, now=self.now)

    def _tried(self, act: Callable[[], None]) -> None:
        from orbsite.storage.errors import OrbError

        with contextlib.suppress(OrbError):
            act()

    def go(self) -> list[str]:
        acts = [self.save] * 4 + [
            self.erase, self.migrate, self.copy, self.compact, self.undo, self.rollback,
        ]  # fmt: skip
        if self.draw.random() < 0.25:  # a restore takes a program of the database's own
            acts += [self.backup, self.restore]
        done = []
        self.base.mkdir(mode=0o700)
        for store in self.stores():
            for user in USERS:
                self.save(user, store)
        self.copy()
        if self.backup in acts:
            self.backup()
        for act in [*self.draw.choices(acts, k=7), self.erase]:
            done.append(act.__name__)
            self._tried(act)
        wrong = self.restore_removed()
        self.erase()  # of the tombstones too that were put there by hand
        wrong += [f"{store!r} has ana" for store in self.stores() if count_of(store, "ana")]
        wrong += [f"{path} names her" for path in self.base.rglob("*") if path.is_file() and _names(path)]
        wrong += self._new_data()
        return [f"{done}: {one}" for one in wrong]

    def _new_data(self) -> list[str]:
        """Save as ana again: that is new, and stays."""
        from orbsite.stores import file_store, open_sql_store

        for _ in range(4):
            self.save("ana")
        files = sum(count_of(file_store(one, self.base), "ana") for one in self.domains)
        before = files + sum(count_of(open_sql_store(one), "ana") for one in self.domains)
        self.migrate()
        after = sum(count_of(one, "ana") for one in self.stores())
        return [] if after >= before > 0 else ["what ana saved later was lost"]


def _names(path: Path) -> bool:
    return any(text in path.read_bytes() for text in (f"{CANARY}-ana".encode(), b'"ana"'))


def count_of(store: Any, user: str) -> int:
    return sum(len(store.find(kind, {"user_id": user})) for kind in store.domain.kinds)


def main() -> None:
    vendor, work, seed, rounds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    (work / "database").mkdir(parents=True)
    os.environ["ORB_BACKUP_DIR"] = str(work / "backups")
    with migrated(vendor, work / "database") as database:
        usual = {
            "DATABASE_URL": database.address,
            "DEBUG": "true",
            "ORB_JOURNAL": random.Random(seed).choice(["0", "never"]),
        }
        os.environ |= usual | {"DJANGO_SETTINGS_MODULE": "orbsite.settings", "ORB_PERSISTENCE": "sql"}
        django.setup()
        from django.conf import settings
        from django.db import connection

        tables = None
        wrong = []
        for number in range(rounds):
            directory = work / f"round-{number}"
            directory.mkdir()
            settings.ORB_DATA_DIR = str(directory / "data")
            tables = tables or [
                one for one in connection.introspection.table_names() if one.startswith(("orb_", "luna_", "te_"))
            ]
            _empty(tables)
            wrong += [f"{seed}/{number} {one}" for one in Round(directory, random.Random(f"{seed}/{number}")).go()]
            shutil.rmtree(directory)
        connection.close()
    print(json.dumps({"rounds": rounds, "wrong": wrong}))  # noqa: T201


def _empty(tables: list[str]) -> None:
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
        return
    from luna.models import ActiveModeRow, ProfileRow
    from orbsite.models.erasures import Erasure
    from orbsite.models.ledger import Change, Reject, Run
    from te.models import ReflectionRow

    for model in (ActiveModeRow, ProfileRow, ReflectionRow, Erasure, Change, Reject):
        model._base_manager.all().delete()
    Run.objects.update(reverts=None)
    Run.objects.all().delete()


if __name__ == "__main__":
    main()
