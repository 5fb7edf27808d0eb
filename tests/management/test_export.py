"""From files to SQL and back: equal, but for what a file without owners cannot say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orbsite.storage.encoding.json_printer import canonical
from orbsite.storage.encoding.timestamps import spell
from tests.management.test_commands import migrate, run

pytestmark = pytest.mark.django_db

TE, LUNA = "te/reflections.json", "luna/profiles.json"


def read(base: Path, name: str) -> Any:
    return json.loads((base / name).read_bytes())


def without_owners(tree: Any) -> Any:
    """In a session of several users, items of the earlier system do not say whose they are; ours do."""
    for items in tree["sessions"].values():
        for item in items:
            item.pop("userId", None)
    return tree


def test_the_real_files_come_back_equal(sample: Path, tmp_path: Path) -> None:
    migrate(sample)
    code, report = run("export_orb_files", "--from", "sql", "--to", tmp_path / "out")
    assert (code, report["domains"]["te"]["exported"], report["domains"]["luna"]["exported"]) == (0, 142, 87)
    assert canonical(read(tmp_path / "out", LUNA)) == canonical(read(sample, LUNA))
    before, after = read(sample, TE), read(tmp_path / "out", TE)
    assert canonical(without_owners(after)["sessions"]) == canonical(without_owners(before)["sessions"])
    listed = before["userSessions"]  # whoever shares a session in which nothing is certainly theirs has no row in SQL
    assert all(set(sessions) <= set(listed[user]) for user, sessions in after["userSessions"].items())
    code, _ = run("verify_orb_files", "--data-dir", tmp_path / "out")
    assert code == 0


def test_unknown_keys_texts_and_order_survive(data_dir: Path, tmp_path: Path) -> None:
    item = {"input": "i", "output": "o", "tags": [], "score": 1e16, "summary": {"b": [1, {"a": None}]}}
    times = ["2024-01-03T00:00:00.000Z", "2024-01-01T00:00:00.000Z", "2024-01-02T00:00:00.000Z"]
    tree = {
        "sessions": {"s": [{**item, "id": str(at), "createdAt": time} for at, time in enumerate(times)]},
        "userSessions": {"42": ["s"]},
    }
    profile = {
        "userId": "42",
        "modeId": "7",
        "preferences": [],
        "constraints": ["as text"],
        "updatedAt": times[0],
        "more": 1,
    }
    for name, content in ((TE, tree), (LUNA, {"42": {"activeMode": "gone", "profiles": {"7": profile}}})):
        (data_dir / name).parent.mkdir()
        (data_dir / name).write_text(json.dumps(content))
    migrate(data_dir)
    run("export_orb_files", "--from", "sql", "--to", tmp_path / "out")
    for name in (TE, LUNA):
        assert canonical(read(tmp_path / "out", name)) == canonical(read(data_dir, name))


def test_one_person_is_exported_alone(sample: Path, tmp_path: Path) -> None:
    migrate(sample)
    code, report = run("export_orb_files", "--from", "sql", "--to", tmp_path / "out", "--user", "ana-0")
    assert code == 0
    assert list(read(tmp_path / "out", LUNA)) == ["ana-0"]
    assert list(read(tmp_path / "out", TE)["userSessions"]) == ["ana-0"]
    mine = sum(report["domains"][name]["exported"] for name in ("luna", "te"))
    assert 0 < mine < 229


def test_files_that_are_there_are_replaced_only_when_asked(sample: Path, tmp_path: Path) -> None:
    migrate(sample)
    run("export_orb_files", "--from", "sql", "--to", tmp_path)
    before = (tmp_path / TE).read_bytes()
    code, report = run("export_orb_files", "--from", "sql", "--to", tmp_path, "--user", "nobody")
    assert (code, "already exists" in report["findings"][0]["message"]) == (2, True)
    code, _ = run("export_orb_files", "--from", "sql", "--to", tmp_path, "--user", "nobody", "--overwrite")
    assert (code, read(tmp_path, LUNA), read(tmp_path, TE)) == (0, {}, {"sessions": {}, "userSessions": {}})
    assert (tmp_path / f"{TE}.prev").read_bytes() == before


def test_times_are_spelled_as_the_guide_does(sample: Path, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    assert spell(datetime(2024, 1, 1, tzinfo=UTC)) == "2024-01-01T00:00:00.000Z"
    migrate(sample)
    run("export_orb_files", "--from", "sql", "--to", tmp_path / "out")
    assert (tmp_path / "out" / TE).stat().st_mode & 0o777 == 0o600
