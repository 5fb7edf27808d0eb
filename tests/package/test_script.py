"""The first way in: a plain script, run from the installed wheel in a directory of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs.pages import blocks
from tests.support.installed import ROOT, environment

pytestmark = pytest.mark.slow

FIRST_STEPS = """\
from datetime import UTC, datetime
from orbsite.persistence import Reflection, create_default_te_store
te = create_default_te_store()
te.save_reflection(Reflection(id="r-1", input="a", output="b", tags=(), created_at=datetime.now(UTC)), "ana")
print(te.get_reflections("ana"))
"""
NOT_NEEDED = ("django.contrib", "rest_framework", "drf_spectacular", "axes", "django_otp", "psycopg", "gunicorn")


def _run(directory: Path, program: str, *, code: int = 0, **variables: str) -> str:
    path = directory / "program.py"
    path.write_text(program)
    done = environment().run(environment().python, path, cwd=directory, code=code, **variables)
    return done.stderr if code else done.stdout


def test_a_file_of_the_checkout_cannot_be_opened(tmp_path: Path) -> None:
    for path in (ROOT / "pyproject.toml", ROOT / "orbsite/stores.py"):
        assert "a file of the checkout was opened" in _run(tmp_path, f"open({str(path)!r})", code=1)


def test_six_lines_save_and_read_back(tmp_path: Path) -> None:
    assert len(FIRST_STEPS.splitlines()) <= 6
    assert _run(tmp_path, FIRST_STEPS) == "[<Reflection ('ana', 'r-1')>]\n"
    saved = tmp_path / ".local/share/orb/.orb-data/te/reflections.json"
    assert [one["id"] for one in json.loads(saved.read_text())["sessions"]["default"]] == ["r-1"]
    assert (saved.stat().st_mode & 0o777, saved.parents[2].stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_examples_of_the_documentation_run_as_files(tmp_path: Path) -> None:
    python = [block for block in blocks() if block.language == "python" and not block.before.startswith("Save this")]
    examples = [block.text for block in python if "orbsite.persistence" in block.text]
    assert len(examples) >= 4
    for number, example in enumerate(examples):
        place = tmp_path / str(number)
        place.mkdir()
        _run(place, example)
        saved = {path.name for path in place.rglob("*.json")}
        assert saved & {"reflections.json", "profiles.json"}, example


def test_a_script_says_in_the_log_whose_settings_it_has_and_leaves_logging_alone(tmp_path: Path) -> None:
    before = "import logging\nlogging.basicConfig(level=logging.INFO, filename='log')\n"
    _run(tmp_path, before + FIRST_STEPS, ORB_HOME=str(tmp_path / "home"))
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.startswith("INFO:orbsite.conf.configure:no Django settings were configured")
    assert line.endswith(f"ORB_PERSISTENCE is file, ORB_DATA_DIR is {tmp_path}/home/.orb-data")


def test_a_script_imports_neither_the_admin_nor_the_api(tmp_path: Path) -> None:
    told = _run(tmp_path, FIRST_STEPS + "import sys, json\nprint(json.dumps(sorted(sys.modules)))")
    modules = json.loads(told.splitlines()[-1])
    assert "django.db.models" in modules
    assert [name for name in modules if name.startswith(NOT_NEEDED)] == []


def test_importing_the_interface_and_the_records_needs_no_django(tmp_path: Path) -> None:
    program = (
        "import sys, orbsite.persistence\n"
        "from orbsite.persistence import ActiveMode, Constraint, Profile, Reflection\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'django'])"
    )
    assert _run(tmp_path, program) == "[]\n"


def test_a_script_in_sql_says_which_command_makes_the_tables(tmp_path: Path) -> None:
    sql = {"ORB_PERSISTENCE": "sql", "ORB_HOME": str(tmp_path)}
    assert "orb migrate" in _run(tmp_path, FIRST_STEPS, code=1, **sql)
    environment().run(
        environment().orb, "migrate", "--verbosity", "0", cwd=tmp_path, SECRET_KEY="x-y" * 20, DEBUG="1", **sql
    )
    assert _run(tmp_path, FIRST_STEPS, **sql) == "[<Reflection ('ana', 'r-1')>]\n"


def test_a_script_that_configures_django_keeps_its_settings(tmp_path: Path) -> None:
    apps = ["orbsite", "luna", "te"]
    own = f"from django.conf import settings\nsettings.configure(INSTALLED_APPS={apps}, ORB_PERSISTENCE='memory')\n"
    assert _run(tmp_path, own + FIRST_STEPS) == "[<Reflection ('ana', 'r-1')>]\n"
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"]
    error = _run(tmp_path, own.replace("'orbsite', 'luna', ", "") + FIRST_STEPS, code=1)
    assert "INSTALLED_APPS lacks orbsite, luna; docs/use.md says" in error


def test_threads_that_begin_together_configure_once(tmp_path: Path) -> None:
    program = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def begin(_):\n"
        "    from orbsite.persistence import create_default_luna_store\n"
        "    return create_default_luna_store().get_or_create_profile('ana', 'mars').mode_id\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    print(set(pool.map(begin, range(8))))"
    )
    assert _run(tmp_path, program) == "{'mars'}\n"
