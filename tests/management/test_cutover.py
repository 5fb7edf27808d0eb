"""The move of a running system, rehearsed: its files are migrated while it writes them, it is stopped, SQL takes over, and gives files back."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orbsite.models.ledger import Run
from orbsite.persistence import create_default_te_store
from orbsite.storage.clock import utc_now
from te.records import Reflection
from tests.management.test_commands import _rows, migrate, run

pytestmark = pytest.mark.django_db

TE, LUNA = "te/reflections.json", "luna/profiles.json"


def add(path: Path, number: int) -> str:
    """Add a reflection as the earlier system does: read all, write all over it, in place and without a lock."""
    tree = json.loads(path.read_bytes())
    item = {
        "id": f"old-{number}",
        "input": "i",
        "output": "o",
        "tags": [],
        "createdAt": f"2025-01-01T00:00:00.{number % 1000:03}Z",
    }
    tree["sessions"].setdefault(f"late-{number % 7}", []).append(item)
    sessions = tree["userSessions"].setdefault("late", [])
    if f"late-{number % 7}" not in sessions:
        sessions.append(f"late-{number % 7}")
    text = json.dumps(tree, indent=2)
    with path.open("w") as file:  # empty from here on
        for at in range(0, len(text), 8192):
            file.write(text[at : at + 8192])
            file.flush()
    return item["id"]


@contextmanager
def old_system(path: Path) -> Iterator[list[str]]:
    """Have it write all the time; what it wrote is in the list once it is stopped."""
    stop, written = threading.Event(), list[str]()

    def work() -> None:
        while not stop.is_set():
            written.append(add(path, len(written)))

    writer = threading.Thread(target=work)
    writer.start()
    try:
        yield written
    finally:
        stop.set()
        writer.join()


def items(base: Path) -> dict[str, Any]:
    tree = json.loads((base / TE).read_bytes())
    return {item["id"]: item for session in tree["sessions"].values() for item in session}


def test_a_running_system_moves_to_sql_and_back(files: Path, tmp_path: Path, settings: Any) -> None:
    codes = []
    with old_system(files / TE) as written:
        while len(written) < 30 or len(codes) < 12:
            before = _rows()
            code, report = migrate(files)
            codes.append(code)
            assert code in (0, 2)
            if code == 2:
                assert "nothing was written" in report["findings"][0]["message"]
                assert _rows() == before
    code, report = migrate(files)
    assert (code, report["domains"]["te"]["read"]) == (0, 142 + len(written))
    assert run("verify_orb_files", "--data-dir", files)[0] == 0
    sys.stdout.write(
        f"cut-over: {len(written)} written, {codes.count(0)} migrations meanwhile, {codes.count(2)} refused\n"
    )

    settings.ORB_PERSISTENCE = "sql"
    reflections = create_default_te_store()
    for number in range(5):
        new = Reflection(id=f"new-{number}", input="i", output="o", tags=("new",), created_at=utc_now())
        reflections.save_reflection(new, "late", "late-0")

    out = tmp_path / "out"
    code, report = run("export_orb_files", "--to", out)
    assert (code, report["domains"]["te"]["exported"]) == (0, 147 + len(written))
    assert run("validate_orb_files", "--data-dir", out)[0] == 0
    assert run("verify_orb_files", "--data-dir", out)[0] == 0
    found = items(out)
    assert found.keys() == items(files).keys() | {f"new-{number}" for number in range(5)}
    for name, item in items(files).items():
        assert {key: value for key, value in found[name].items() if key != "userId"} == item
    assert json.loads((out / LUNA).read_bytes()) == json.loads((files / LUNA).read_bytes())


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_file_that_is_half_written_is_refused_and_taken_once_it_is_whole(files: Path, share: float) -> None:
    data = (files / TE).read_bytes()
    (files / TE).write_bytes(data[: int(len(data) * share)])
    code, report = migrate(files)
    assert (code, _rows(), Run.objects.count()) == (2, [], 0)
    assert "nothing was written" in report["findings"][0]["message"]
    (files / TE).write_bytes(data)
    code, report = migrate(files)
    assert (code, report["domains"]["te"]["new"]) == (0, 142)
