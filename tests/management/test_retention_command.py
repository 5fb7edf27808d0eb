from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from orbsite import stores
from orbsite.persistence import Reflection, compact_te_reflections, create_default_te_store
from orbsite.storage.clock import utc_now

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> Any:
    out = StringIO()
    call_command("compact_orb_files", "--format", "json", *arguments, stdout=out)
    return json.loads(out.getvalue())


def items(files: Path) -> dict[str, list[str]]:
    tree = json.loads((files / "te/reflections.json").read_bytes())
    return {session: [item["id"] for item in found] for session, found in tree["sessions"].items()}


def test_files_are_retained_and_undone(files: Path) -> None:
    before, profiles = items(files), (files / "luna/profiles.json").read_bytes()
    told = run("--data-dir", str(files), "--max-per-session", "3", "--force")
    assert told["domains"]["te"]["removed"] == 68
    assert max(map(len, items(files).values())) == 3
    (name,) = told["tombstones"]
    assert run("--data-dir", str(files), "--undo", name)["domains"]["te"]["restored"] == 68
    assert items(files) == before
    assert (files / "luna/profiles.json").read_bytes() == profiles


def test_a_dry_run_and_an_explanation_write_nothing(files: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in files.rglob("*")}
    told = run("--data-dir", str(files), "--max-per-session", "3", "--dry-run")
    assert told["domains"]["te"]["would_go"] == 68
    name = next(iter(items(files).values()))[0]
    (finding,) = run("--data-dir", str(files), "--max-per-session", "3", "--explain", name)["findings"]
    assert finding["path"] == f"reflections {name}"
    assert {path: path.stat().st_mtime_ns for path in files.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--max-per-session", "3"), "--force"),
        (("--max-per-session", "-1"), "max_per_session is -1"),
        (("--only", "luna", "--max-age-days", "90"), "luna"),
        (("--explain", "x"), "--explain needs a rule"),
        (("--undo", "nothing"), "nothing"),
        (("--undo", "nothing", "--dry-run"), "no --dry-run"),
    ],
)
def test_what_cannot_be_done_says_why_and_exits_2(files: Path, arguments: tuple[str, ...], says: str) -> None:
    before = items(files)
    with pytest.raises(CommandError, match=says) as caught:
        run("--data-dir", str(files), *arguments)
    assert caught.value.returncode == 2
    assert items(files) == before


def test_sql_is_retained_and_undone(settings: Any) -> None:
    settings.ORB_PERSISTENCE = "sql"
    save(1, 2, 100)
    told = run("--max-age-days", "90", "--force")
    assert (told["domains"]["te"]["removed"], len(kept())) == (1, 2)
    assert run("--undo", str(told["run"]))["domains"]["te"]["restored"] == 1
    assert len(kept()) == 3


def save(*days: float) -> None:
    store = create_default_te_store()
    for number, day in enumerate(days):
        moment = utc_now() - timedelta(days=day)
        one = Reflection(id=f"r-{number}", input="i", output="o", tags=(), created_at=moment)
        store.save_reflection(one, "ana", "s")


def kept() -> list[str]:
    return sorted(one.id for one in create_default_te_store().get_reflections("ana"))


@pytest.fixture(params=["memory", "file", "sql"])
def store(request: pytest.FixtureRequest, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(stores, "_of_this_process", {})
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = request.param, tmp_path / "data"
    return str(request.param)


def test_the_guides_function_works_on_the_configured_store_and_is_not_guarded(store: str) -> None:
    save(89, 91, 92, 93)
    done = compact_te_reflections()
    assert (done.removed, done.errors, kept()) == (3, [], ["r-0"])
    assert done.before_size > done.after_size if store == "file" else done.before_size <= done.after_size
    save(1, 2, 3)
    assert compact_te_reflections(max_age_days=30, max_reflections_per_session=2).removed == 1
    assert kept() == ["r-0", "r-1"]


def test_where_there_is_no_file_there_is_nothing_to_do(settings: Any, tmp_path: Path) -> None:
    settings.ORB_PERSISTENCE, settings.ORB_DATA_DIR = "file", tmp_path / "none"
    done = compact_te_reflections()
    assert (done.removed, done.before_size, done.after_size, done.errors) == (0, 0, 0, [])
    assert not (tmp_path / "none").exists()
