"""Health: what is told to whoever asks, and what to whom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from luna.domain import DOMAIN as LUNA
from orbsite.models.jobs import JobState
from orbsite.storage.file.store import FileStore
from orbsite.stores import open_store
from orbsite.web import health, metrics
from tests.api.conftest import Caller
from tests.support.factories import ProfileFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def unknown() -> None:
    metrics._counted.clear()
    health._are_migrated.clear()


def _checks(caller: Caller) -> dict[str, str]:
    answer = caller.get("/readyz")
    told: dict[str, Any] = answer.json()
    fine = all(outcome == "ok" for outcome in told["checks"].values())
    assert (answer.status_code, told["status"]) == ((200, "ready") if fine else (503, "not ready"))
    return dict(told["checks"])


@pytest.mark.usefixtures("mode")
def test_it_is_live_and_ready(nobody: Caller) -> None:
    assert (nobody.get("/livez").status_code, nobody.get("/livez").json()) == (200, {"status": "live"})
    assert _checks(nobody) == {"store": "ok", "migrations": "ok", "disk": "ok", "journal": "ok"}


def test_a_store_out_of_reach_is_told_and_it_lives_on(nobody: Caller, settings: Any, data_dir: Path) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = "file", data_dir
    (data_dir / "luna").mkdir(mode=0o700)
    (data_dir / "luna" / "profiles.json").write_text("{")
    assert _checks(nobody)["store"] == "failed"
    assert nobody.get("/livez").status_code == 200
    assert str(data_dir) not in nobody.get("/readyz").content.decode()


def test_a_migration_that_lacks_is_told(nobody: Caller) -> None:
    recorder = MigrationRecorder(connection)
    ((app, last),) = MigrationLoader(connection).graph.leaf_nodes("luna")
    recorder.record_unapplied(app, last)
    assert _checks(nobody)["migrations"] == "failed"
    recorder.record_applied(app, last)
    assert _checks(nobody)["migrations"] == "ok"


def test_a_disk_that_is_full_is_told(nobody: Caller, settings: Any) -> None:
    settings.ORB_MIN_FREE_BYTES = 1 << 62
    assert _checks(nobody)["disk"] == "failed"


def test_a_journal_that_nobody_folds_is_told(nobody: Caller, operator: Caller, settings: Any, data_dir: Path) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR, settings.ORB_JOURNAL = "file", data_dir, "1"
    store = open_store(LUNA)
    store.put([ProfileFactory(user_id="ana")])
    store.put([ProfileFactory(user_id="ana")])
    size = (data_dir / "luna/profiles.json.journal").stat().st_size
    settings.ORB_MAX_JOURNAL_BYTES = size
    assert _checks(nobody)["journal"] == "ok"
    assert f'orb_journal_bytes{{domain="luna"}} {size}\n' in operator.get("/metrics").content.decode()
    settings.ORB_MAX_JOURNAL_BYTES = size - 1
    assert _checks(nobody)["journal"] == "failed"


def test_a_journal_that_is_folded_meanwhile_is_no_failure(
    nobody: Caller, settings: Any, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR, settings.ORB_JOURNAL = "file", data_dir, "1"
    store = open_store(LUNA)
    assert isinstance(store, FileStore)
    store.put([ProfileFactory(user_id="ana")])
    store.put([ProfileFactory(user_id="ana")])
    exists, folded = Path.exists, []

    def fold_after(path: Path) -> bool:
        is_there = exists(path)
        folded.append(path.suffix == ".journal" and store.fold())
        return is_there

    monkeypatch.setattr(Path, "exists", fold_after)
    assert _checks(nobody)["journal"] == "ok"
    assert store.fold() is not any(folded)
    assert store.journal_size() == 0


@pytest.mark.usefixtures("mode")
def test_metrics_are_in_the_text_format_of_prometheus(operator: Caller) -> None:
    open_store(LUNA).put([ProfileFactory(user_id="ana"), ProfileFactory(user_id="bo")])
    answer = operator.get("/metrics", Accept="text/plain;version=0.0.4;q=0.5, */*;q=0.1")
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = answer.content.decode()
    line = r'(# TYPE \w+ gauge|\w+(\{\w+="[^"\\\n]*"(,\w+="[^"\\\n]*")*\})? -?[0-9.]+)'
    assert re.fullmatch(rf"({line}\n)+", text)
    assert 'orb_records{domain="luna",kind="profiles"} 2\n' in text
    assert 'orb_check{check="store"} 1\n' in text
    for state in JobState.values:
        assert f'orb_jobs{{state="{state}"}} 0\n' in text
    assert len(re.findall("# TYPE orb_records gauge", text)) == 1


def test_metrics_go_on_without_what_cannot_be_measured(operator: Caller, settings: Any, data_dir: Path) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = "file", data_dir
    (data_dir / "luna").mkdir(mode=0o700)
    (data_dir / "luna" / "profiles.json").write_text("{")
    text = operator.get("/metrics").content.decode()
    assert 'orb_check{check="store"} 0\n' in text
    assert "orb_records" not in text
    assert "orb_disk_free_bytes" in text


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_is_only_read(nobody: Caller, path: str) -> None:
    assert nobody("POST", path, {}).status_code == 405
    assert nobody("HEAD", path).status_code == 200
