"""An upgrade of rows whose process is killed between batches is completed and rolled back as one run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from luna.domain import DOMAIN as LUNA
from luna.records import Profile
from orbsite.models.ledger import Change, Run
from orbsite.storage.sql.store import SqlStore
from tests.operations.retention.test_killed_retention import ROOT, database, manage, unblocked  # noqa: F401 -- a fixture
from tests.support.factories import ProfileFactory
from tests.support.time_limits import time_limit

pytestmark = pytest.mark.slow
ROWS = 4000


def constraints(store: SqlStore) -> dict[Any, Any]:
    return {one.key: one.constraints for one in store.walk(Profile)}


def kill_once_something_is_changed(url: str, alias: str) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "orbsite.settings", "DEBUG": "true", "DATABASE_URL": url}
    command = [sys.executable, "manage.py", "upgrade_orb_rows"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + time_limit(60)
        while not Change.objects.using(alias).exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.002)
        process.kill()


@pytest.mark.usefixtures("unblocked")
@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
def test_a_killed_upgrade_is_resumed_and_rolled_back_as_one_run(vendor: str, tmp_path: Path) -> None:
    if vendor not in connections.databases and vendor != "sqlite":
        pytest.skip("there is no PostgreSQL server on this machine")
    with database(vendor, tmp_path) as (alias, url):
        store = SqlStore(LUNA, alias)
        store.put([ProfileFactory(mode_id=f"mode {n}", constraints=("calm", f"text {n}")) for n in range(ROWS)])
        before = constraints(store)
        kill_once_something_is_changed(url, alias)
        changed = {key for key, held in constraints(store).items() if held != before[key]}
        assert 0 < len(changed) < ROWS
        assert Change.objects.using(alias).count() == len(changed)
        manage(url, "manage.py", "upgrade_orb_rows")
        run = Run.objects.using(alias).get()
        counts = {what: number for what, number in run.counts["luna"]["profiles"].items() if number}
        assert counts == {"read": ROWS, "replaced": ROWS}
        assert all(not isinstance(one, str) for held in constraints(store).values() for one in held)
        manage(url, "manage.py", "rollback_orb_migration", str(run.pk))
        assert constraints(store) == before
