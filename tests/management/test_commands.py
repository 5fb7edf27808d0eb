from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse

from orbsite.models.ledger import Run

pytestmark = pytest.mark.django_db


def run(*arguments: Any) -> tuple[int, dict[str, Any]]:
    out, code = StringIO(), 0
    try:
        call_command(*map(str, arguments), "--format", "json", stdout=out)
    except SystemExit as end:
        code = end.code
    except CommandError as problem:
        code = problem.returncode
    return code, json.loads(out.getvalue())


def migrate(base: Path, *arguments: Any) -> tuple[int, dict[str, Any]]:
    return run("migrate_orb_files", "--data-dir", base, *arguments)


def test_the_real_files_are_all_new_the_first_time(sample: Path) -> None:
    code, report = migrate(sample)
    kinds = {**report["domains"]["luna"]["kinds"], **report["domains"]["te"]["kinds"]}
    assert code == 0
    assert {kind: (counts["read"], counts["new"], counts["rejected"]) for kind, counts in kinds.items()} == {
        "profiles": (72, 72, 0),
        "active_modes": (15, 15, 0),
        "reflections": (142, 142, 0),
    }
    shared = [finding["path"].partition("[")[0] for finding in report["findings"] if finding["domain"] != "mav"]
    assert (shared.count("$.sessions.default"), shared.count("$.sessions.shared-session"), len(shared)) == (28, 11, 39)
    assert {finding["severity"] for finding in report["findings"]} == {"warning"}


def test_the_second_time_they_are_unchanged_and_nothing_is_written(sample: Path) -> None:
    migrate(sample)
    before = _rows()
    code, report = migrate(sample)
    assert code == 0
    assert sum(report["domains"][name]["unchanged"] for name in ("luna", "te")) == 229
    assert _rows() == before


def test_a_row_changed_by_raw_sql_is_kept_and_reported(sample: Path) -> None:
    migrate(sample)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE te_reflections SET notes = 'edited' WHERE id = '6bd5d0e4-e752-4497-9f27-db2abd48d535'")
        cursor.execute("UPDATE luna_profiles SET preferences = '[]' WHERE user_id = 'ana-0' AND mode_id = 'mars'")
    code, report = migrate(sample)
    assert code == 0
    assert (report["domains"]["te"]["unchanged"], report["domains"]["te"]["kept"]) == (141, 1)
    assert (report["domains"]["luna"]["unchanged"], report["domains"]["luna"]["kept"]) == (86, 1)
    paths = [finding["path"] for finding in report["findings"] if "kept" in finding["message"]]
    assert paths == ["$.ana-0.profiles.mars", "$.sessions.default[0]"]


def test_a_dry_run_tells_and_writes_nothing(sample: Path) -> None:
    code, report = migrate(sample, "--dry-run")
    assert (code, report["run"], report["domains"]["te"]["new"]) == (0, None, 142)
    assert _rows() == []
    assert not Run.objects.exists()


def test_only_one_domain_is_migrated_where_one_is_named(sample: Path) -> None:
    _, report = migrate(sample, "--only", "te")
    assert list(report["domains"]) == ["te"]


def test_the_run_is_in_the_ledger(sample: Path) -> None:
    _, report = migrate(sample)
    entry = Run.objects.get(pk=report["run"])
    assert (entry.operation, entry.state, entry.counts["te"]["reflections"]["new"]) == ("migrate", "complete", 142)


def test_every_record_read_is_accounted_for(data_dir: Path, sample: Path) -> None:
    tree = json.loads((sample / "luna/profiles.json").read_text())
    tree["ana-0"]["profiles"]["mars"]["constraints"][1] = 5
    tree["ana-0"]["profiles"]["earth"]["userId"] = "somebody"
    tree["nobody"] = []
    _write(data_dir / "luna/profiles.json", json.dumps(tree))
    code, report = migrate(data_dir, "--only", "luna")
    counts = report["domains"]["luna"]
    assert code == 1
    assert counts["read"] == 88 == sum(counts[name] for name in ("new", "unchanged", "replaced", "kept", "rejected"))
    assert counts["rejected"] == 3
    errors = {finding["path"]: finding["message"] for finding in report["findings"] if finding["severity"] == "error"}
    assert errors == {
        "$.ana-0.profiles.mars.constraints[1]": "expected text, got a number",
        "$.ana-0.profiles.earth.userId": "the profile is stored under another user",
        "$.nobody": "expected an object, got a list",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": {\n  "profiles": }}', "line 2, column 15"),
        ('{"a": {"profiles": {', "line 1"),
        ("", "line 1, column 1"),
        ("[]", "expected an object"),
        (b'{"a": "\xff"}', "invalid UTF-8"),
        ('{"a": NaN}', "NaN is no JSON number (line 1, column 7)"),
        ("[" * 100_000, "deeper than 100"),
    ],
)
def test_a_file_that_is_no_json_stops_everything_and_stays_as_it_is(
    data_dir: Path, sample: Path, content: str | bytes, message: str
) -> None:
    shutil.copytree(sample / "te", data_dir / "te")
    path = _write(data_dir / "luna/profiles.json", content)
    before = path.read_bytes()
    for command in ("migrate_orb_files", "validate_orb_files"):
        code, report = run(command, "--data-dir", data_dir)
        assert (code, report["ok"]) == (2, False)
        assert message in report["findings"][0]["message"]
        assert str(path) in report["findings"][0]["message"]
    assert path.read_bytes() == before
    assert _rows() == []


def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_being_checked(data_dir: Path, sample: Path) -> None:
    shutil.copytree(sample / "te", data_dir / "te")
    _write(data_dir / "luna/profiles.json", "{")
    code, report = run("validate_orb_files", "--data-dir", data_dir)
    assert (code, report["ok"], report["domains"]["te"]["valid"]) == (2, False, 142)


def test_a_missing_file_is_no_records_and_says_so(data_dir: Path) -> None:
    code, report = migrate(data_dir)
    assert code == 0
    assert "there is no file luna/profiles.json" in report["findings"][0]["message"]
    assert report["domains"]["luna"]["read"] == 0


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    code, report = migrate(tmp_path / "nowhere")
    assert code == 2
    assert "nowhere" in report["findings"][0]["message"]
    assert not (tmp_path / "nowhere").exists()


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _hard_link(path: Path) -> None:
    (path.parent / "other").write_text("{}")
    path.hardlink_to(path.parent / "other")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_link, "symbolic link"),
        (_hard_link, "second name"),
        (os.mkfifo, "a pipe"),
        (Path.mkdir, "a directory"),
    ],
)
def test_what_is_no_plain_file_is_refused(data_dir: Path, make: Any, message: str) -> None:
    (data_dir / "luna").mkdir()
    make(data_dir / "luna/profiles.json")
    code, report = migrate(data_dir)
    assert code == 2
    assert message in report["findings"][0]["message"]


def test_a_directory_that_is_a_link_is_refused(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data_dir)
    code, report = migrate(tmp_path / "link")
    assert code == 2
    assert "symbolic link" in report["findings"][0]["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_a_directory_that_may_not_be_read_is_an_error(data_dir: Path, tmp_path: Path) -> None:
    data_dir.chmod(0o000)
    for path in (tmp_path, *tmp_path.parents[:-2]):
        path.chmod(0o755)
    nobody = 65534
    code = f"""
import os
from pathlib import Path
from orbsite.storage.file.document import require_directory
os.setgid({nobody}); os.setuid({nobody})
require_directory(Path({str(data_dir)!r}))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=_ROOT, check=False)
    assert "DocumentRefused" in ended.stderr
    assert "permission denied" in ended.stderr


def test_text_for_people_is_a_table_with_the_findings_below(sample: Path) -> None:
    out = StringIO()
    call_command("migrate_orb_files", "--data-dir", str(sample), "--no-color", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0].split() == ["read", "new", "unchanged", "replaced", "kept", "rejected"]
    assert ["all", "229", "229", "0", "0", "0", "0"] in [line.split() for line in lines]
    assert any("28 times, from $.sessions.default[0] to $.sessions.default[27]" in line for line in lines)


def test_stats_count_files_and_the_configured_store(sample: Path) -> None:
    _, report = run("orb_stats", "--data-dir", sample)
    counts = {"users": 15, "modes": 9, "profiles": 72, "active_modes": 15, "invalid": 0}
    assert counts.items() <= report["domains"]["luna"].items()
    assert report["domains"]["te"]["sessions"] == 29
    assert report["domains"]["te"]["size"] == (sample / "te/reflections.json").stat().st_size


@pytest.mark.slow
def test_a_command_ends_without_a_traceback_as_a_program_too(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "orbsite.settings",
        "DEBUG": "true",
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
    }
    command = [sys.executable, "manage.py", "migrate_orb_files", "--data-dir", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=environment, check=False)
    assert ended.returncode == 2
    assert "run: manage.py migrate" in ended.stderr
    assert "Traceback" not in ended.stderr
    unreachable = {**environment, "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=unreachable, check=False)
    assert ended.returncode == 2
    assert "cannot be reached" in ended.stderr
    assert "Traceback" not in ended.stderr
    unset = {name: value for name, value in environment.items() if name not in ("DEBUG", "SECRET_KEY")} | {
        "SECRET_KEY": "",
        "DEBUG": "false",
    }
    ended = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=unset, check=False)
    assert ended.returncode == 2
    assert "SECRET_KEY" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "setting",
    [{"DATABASE_URL": "foo"}, {"DATABASE_URL": "postgres://u:p@h:port/d"}, {"SECRET_KEY": "", "DEBUG": "false"}],
    ids=str,
)
def test_settings_that_do_not_add_up_end_every_command_alike(setting: dict[str, str]) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "orbsite.settings", "DEBUG": "true", **setting}
    command = [sys.executable, "manage.py", "orb_stats", "--format", "json"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT, env=environment, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert json.loads(ended.stdout)["ok"] is False


def test_ctrl_c_is_130_and_one_json_object(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orbsite.operations.migration.loader.Loader._part", interrupt)
    code, report = migrate(sample)
    assert (code, report["ok"]) == (130, False)
    assert Run.objects.get().state == "interrupted"


@pytest.mark.parametrize("name", ["x" * 300, "\udcff"])
def test_a_directory_that_nothing_can_have_as_a_name_is_an_error(tmp_path: Path, name: str) -> None:
    code, report = migrate(tmp_path / name)
    assert (code, report["ok"]) == (2, False)


def test_a_count_of_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    assert run("orb_stats", "--data-dir", tmp_path / "nowhere")[0] == 2


_ROOT = Path(__file__).parents[2]


def _write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _rows() -> list[Any]:
    with connection.cursor() as cursor:
        found = []
        for table in ("luna_profiles", "luna_active_modes", "te_reflections"):
            cursor.execute(f"SELECT * FROM {table}")
            found += cursor.fetchall()
        return found


def test_a_first_superuser_is_made_once_and_the_password_is_shown_once(client: Any) -> None:
    first, second = StringIO(), StringIO()
    call_command("ensure_orb_admin", stdout=first, no_color=True)
    call_command("ensure_orb_admin", stdout=second, no_color=True)
    password = first.getvalue().split()[7]
    signed_in = client.post(reverse("admin:login"), {"username": "admin", "password": password})
    assert signed_in.status_code == 302
    assert password not in second.getvalue()
    assert "manage.py changepassword admin" in second.getvalue()


def test_a_store_that_nobody_knows_is_found_by_check(settings: Any) -> None:
    settings.ORB_PERSISTENCE = "cloud"
    with pytest.raises(CommandError, match="set it to memory, file or sql"):
        call_command("check")
