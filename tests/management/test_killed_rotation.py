"""A rotation of keys that is killed at any moment leaves everything readable with both keys, in files and rows."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orbsite import stores
from orbsite.models.user_keys import StoredUserKeys, UserKey
from orbsite.operations.progress import silent
from orbsite.operations.records.sealing import rotate_data_keys
from orbsite.operations.report import Report
from orbsite.storage.records import sealed_columns
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.management.test_commands import run
from tests.management.test_sealing_commands import CANARY, NEW, OLD, ROOT, canaries, readable
from tests.support.effort import effort
from tests.support.factories import ReflectionFactory
from tests.support.scratch import scratch
from tests.support.time_limits import time_limit

pytestmark = [pytest.mark.slow, pytest.mark.deep]


@pytest.fixture
def sealed(data_dir: Path, settings: Any) -> Path:
    """A document and its journal, sealed with the old key."""
    settings.ORB_DATA_DIR, settings.ORB_JOURNAL, settings.ORB_KEYS = data_dir, "0", OLD
    stores.file_store(TE, data_dir).put([ReflectionFactory(id="other", input="i")])
    stores.file_store(TE, data_dir).put([ReflectionFactory(id="canary", input=CANARY)])
    return data_dir


def test_a_rotation_that_is_killed_leaves_everything_readable_with_both_keys(
    sealed: Path, settings: Any, tmp_path: Path, django_db_setup: None, django_db_blocker: Any
) -> None:
    draw, users = random.Random(15), 1200
    usual = {name: value for name, value in os.environ.items() if not name.startswith("ORB_")}
    command = [sys.executable, "manage.py", "rotate_orb_keys", "--data-dir", str(sealed), "--apply"]
    with django_db_blocker.unblock(), scratch(tmp_path / "orb.sqlite3") as alias:
        store = SqlStore(TE, alias)
        store.put([ReflectionFactory(id="r", user_id=f"u{number}", input=CANARY) for number in range(users)])
        settings.ORB_KEYS = f"{NEW},{OLD}"
        for number in range(effort(5, 25)):
            keys = [NEW, OLD] if number % 2 == 0 else [OLD, NEW]
            address = f"sqlite:///{tmp_path / 'orb.sqlite3'}"
            environment = usual | {"ORB_KEYS": ",".join(keys), "DATABASE_URL": address, "DEBUG": "true"}
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
            time.sleep(draw.uniform(0.2, 0.9))
            process.send_signal(signal.SIGKILL)
            process.wait(time_limit(60))
            assert canaries(sealed) == 1
            assert readable(sealed) == []
            forget_keys()
            assert {one.input for one in store.find(Reflection)} == {CANARY}
        assert run("rotate_orb_keys", "--data-dir", sealed, "--apply")[0] == 0
        report = Report(columns=("to write", "written", "left"))
        rotate_data_keys(report, apply=True, progress=silent, using=alias)
        assert set(UserKey.objects.using(alias).values_list("wrapped_by", flat=True)) == {"new"}
        settings.ORB_KEYS = NEW
        forget_keys()
        assert len(store.find(Reflection)) == users
    assert CANARY.encode() not in (tmp_path / "orb.sqlite3").read_bytes()


def forget_keys() -> None:
    """As in a new process."""
    for keys in sealed_columns._source:
        assert isinstance(keys, StoredUserKeys)
        keys.forget()
