from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("orbsite", "luna", "te")
DOMAINS = ("luna", "te")


def _sources() -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "migrations" not in path.parts
    ]


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_imports_go_down_only() -> None:
    # in a process of its own, for it turns off the loggers that are there
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_kernel_reads_no_settings_and_no_requests() -> None:
    banned = ("django.conf", "django.contrib", "django.http", "rest_framework", "environ")
    for path in (ROOT / "orbsite/storage").glob("*.py"):
        assert not [name for name in _imports(path) if name.startswith(banned)], path


def test_settings_and_urls_name_apps_as_strings() -> None:
    for name in ("settings", "urls"):
        assert not [one for one in _imports(ROOT / "orbsite" / f"{name}.py") if one.startswith(DOMAINS)]


def test_no_operation_and_no_command_knows_an_app_by_name() -> None:
    for path in [*(ROOT / "orbsite/operations").glob("*.py"), *(ROOT / "orbsite/management").rglob("*.py")]:
        strings = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not strings & set(DOMAINS), path


def test_luna_and_te_have_the_same_rooms() -> None:
    special = {
        "luna": {"presets.py", "preferences.py", "mode_presets.json"},
        "te": {"reflection_log.py", "owners.py", "items.py", "retention.py"},
    }
    rooms = [{path.name for path in (ROOT / name).iterdir()} - special[name] - {"__pycache__"} for name in DOMAINS]
    assert rooms[0] == rooms[1]


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_raises_no_assert(path: Path) -> None:
    assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]


def test_requirements_are_pinned_with_hashes_and_name_no_host() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text
        for line in re.findall(r"^[a-z].*", text, re.MULTILINE):
            assert "==" in line, line
            assert line.rstrip().endswith("\\"), line
