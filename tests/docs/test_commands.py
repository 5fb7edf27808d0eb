"""Every command in the documentation runs, page by page, in a home of its own; the exceptions are listed with a reason.

The program is that of the installed wheel: `orb COMMAND` is `manage.py COMMAND`. Each page starts with the same data, which
has what the pages name: the user `ana`, a reflection, a run, a backup, and files at /path/to.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.docs.pages import INDENTED, ROOT, Block, blocks
from tests.support.installed import environment
from tests.support.time_limits import time_limit

NO_END = "it does not end; tests/package starts it"
NOT_HERE = "it needs the registry of packages; make release-check installs the package with pip"
BUILDS = "it works on a checkout of its own; .ci/run calls it, or the tests of what it starts"
HTTP = "tests/api/test_client.py runs it against a server"
SETTINGS = "it shows parts of a settings module; tests/host is the whole project"
NOT_COMMANDS: dict[str, str] = {
    r"\.orb-backups/20\d+T\d+Z/ +the time": "it shows the files of a backup",
    r"from orbsite\.conf": SETTINGS,
    r"INSTALLED_APPS = ": SETTINGS,
    r"from orbsite\.testing": "tests/contract/test_contract.py has the same tests",
}
"""The beginnings of indented blocks that are not commands, with the reasons."""
NOT_RUN: dict[str, str] = {
    r"orb (serve|worker|db_worker)\b.*": NO_END,
    r"orb run_orb_maintenance --loop.*": NO_END,
    r"python3 -m venv venv|\. venv/bin/activate|pip install .*": NOT_HERE,
    r"make (run|test)": BUILDS,
    r"SECRET_KEY=\.\.\..*make serve": "it needs PostgreSQL and a proxy; tests/api/test_served.py starts such a server",
    r"curl .*|    -H .*": HTTP,
    r"docker .*|sudo .*": "it needs a container engine or systemd; tests/deploy runs and checks the files that it uses",
    r"\* \* \* \* \* .*|15 3 \* \* \* .*|ExecStart=.*": "it is a line for cron or systemd",
}
"""Lines of commands that are not run, with the reasons."""
PLACES = {
    "/path/to/": "path/",
    "/mnt/backups": "mnt",
    ".orb-backups/20261123T045429Z": "home/.orb-backups/first",
    "restore_orb_backup DIR": "restore_orb_backup home/.orb-backups/first",
    "rollback_orb_migration RUN": "rollback_orb_migration $(last migrate)",
    "--explain ID": "--explain r-1",
    "--undo RUN": "--undo $(last compact)",
    "reset_orb_2fa NAME": "reset_orb_2fa admin",
}
"""What a page names, and what has its place here."""
WITH_KEYS = {"docs/sealing.md"}
OTHER_LANGUAGES = {"python", "text", "sql", "ini", "nginx"}
NOW = datetime.now(UTC)


def _here(text: str) -> str:
    """Return commands with the program that is installed, and with the places of the test."""
    text = re.sub(r"(^|\s|\$\()(?:\.venv/bin/python )?manage\.py (?=\w)", r"\1orb ", text, flags=re.MULTILINE)
    for told, place in PLACES.items():
        text = text.replace(told, place)
    return text


def _is_run(line: str) -> bool:
    return not any(re.fullmatch(pattern, line) for pattern in NOT_RUN)


def _script(block: Block) -> str:
    """Return the commands of a block. Those of an indented block are alternatives, each in a shell of its own."""
    lines = [line for line in _here(block.text).splitlines() if line.strip() and _is_run(line)]
    if block.language == INDENTED:
        lines = [f"(\n{line}\n)" for line in lines]
    return "\n".join(lines)


def _has_commands(block: Block) -> bool:
    return block.language == "sh" or (
        block.language == INDENTED and not any(re.match(pattern, block.text) for pattern in NOT_COMMANDS)
    )


SHELL = [block for block in blocks() if _has_commands(block)]
PAGES = sorted({block.page for block in SHELL if _script(block)})


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory with a home, and with the files that the pages name."""
    data = tmp_path / "home/.orb-data"
    _write(data)
    shutil.copytree(data, tmp_path / "path/.orb-data")
    shutil.copy(ROOT / "tests/data/orb.db", tmp_path / "path/orb.db")
    return tmp_path


def _write(data: Path) -> None:
    ids = {"old": 200, "older": 190} | {f"r-{number}": number % 60 for number in range(900)}
    items = [
        {"id": name, "input": "in", "output": "out", "tags": [], "createdAt": _spelled(NOW - timedelta(days=days))}
        for name, days in ids.items()
    ]
    profile = {"userId": "ana", "modeId": "mars", "preferences": [], "constraints": [], "updatedAt": _spelled(NOW)}
    documents = {
        "te/reflections.json": {"sessions": {"s": items}, "userSessions": {"ana": ["s"]}},
        "luna/profiles.json": {"ana": {"activeMode": "mars", "profiles": {"mars": profile}}},
    }
    for name, document in documents.items():
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2))


def _spelled(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


BEFORE = """\
orb init && orb migrate_orb_files --no-backup --data-dir path/.orb-data && orb ensure_orb_admin && orb create_orb_backup
cp home/db.sqlite3 path/db.sqlite3
mv home/.orb-backups/2* home/.orb-backups/first
"""


LAST = """\
last() {
    python -c "import sqlite3, sys
query = 'SELECT max(id) FROM orb_runs WHERE operation = ?'
print(*sqlite3.connect('home/db.sqlite3').execute(query, sys.argv[1:]).fetchone())" "$1"
}
"""
"""Prints the number of the last run of an operation."""


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("page", [page for page in PAGES if "tutorials" not in page])
def test_the_commands_of_a_page_run(work: Path, page: str) -> None:
    script = "\n".join(_script(block) for block in SHELL if block.page == page)
    _run(work, BEFORE)
    keys = {"ORB_KEYS": _key()} if page in WITH_KEYS else {}
    if keys:
        _run(work, "orb seal_orb_data --apply\n", **keys)
    _run(work, LAST + script, **keys)


@pytest.mark.slow
@pytest.mark.release
@pytest.mark.parametrize("page", [page for page in PAGES if "tutorials" in page])
def test_the_steps_of_a_tutorial_lead_to_what_it_shows(tmp_path: Path, page: str) -> None:
    script = []
    for block in (one for one in blocks() if one.page == page):
        if saved := re.match(r"Save this as `(\w+\.py)`", block.before):
            (tmp_path / saved[1]).write_text(block.text)
        elif block.language == "sh":
            script.append(_script(block))
        else:
            shown = _run(tmp_path, "\n".join(script))
            assert block.text in "\n".join(line.rstrip() for line in shown.splitlines())
    told = _run(tmp_path, "rm -rf home memory\n" + "\n".join(script))
    if "agent" in page:
        assert told.splitlines()[-2:-1] == ["deploy again: done, with 1 preferences and 2 memories"]
        assert told.splitlines()[-1].startswith("0 removed, 3 left in ")


def _run(work: Path, script: str, **variables: str) -> str:
    """Run a script in a directory, up to the first command that fails, and return its output."""
    done = subprocess.run(
        ["bash", "-eux", "-o", "pipefail", "-c", script],
        cwd=work,
        env=environment().variables(work, ORB_HOME=str(work / "home"), COLUMNS="200", **variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=time_limit(250),
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _key() -> str:
    return f"2026a:{base64.b64encode(os.urandom(32)).decode()}"


def test_each_block_is_run_or_has_a_reason() -> None:
    assert {block.language for block in blocks()} - OTHER_LANGUAGES == {INDENTED, "sh"}
    lines = [line for block in SHELL for line in _here(block.text).splitlines() if line.strip()]
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, line) for line in lines), f"no line needs the exception {pattern}"
    texts = [block.text for block in blocks() if block.language == INDENTED]
    for pattern in NOT_COMMANDS:
        assert any(re.match(pattern, text) for text in texts), f"no block needs the exception {pattern}"


def test_each_python_block_is_run() -> None:
    for block in (one for one in blocks() if one.language == "python"):
        runs = (
            block.before.startswith("Save this as"),  # above
            "orbsite.persistence" in block.text,  # tests/package/test_script.py
            "orbsite.client" in block.text,  # tests/package/test_server.py
            "urllib.request" in block.text,  # tests/api/test_client.py
            bool(re.fullmatch(r"# file: tests/\S+", block.text.strip())),  # a file of the tests
        )
        assert any(runs), (block.page, block.text)
