from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("orbsite", "luna", "te")
DOMAINS = ("luna", "te")
UNBOUNDED = {"commands", "migrations"}
"""Folders whose files are named by Django's rules: a command, a migration each."""


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
    paths = list((ROOT / "orbsite/storage").rglob("*.py"))
    assert len(paths) > 60
    for path in paths:
        assert not [name for name in _imports(path) if name.startswith(banned)], path


def test_settings_and_urls_name_apps_as_strings() -> None:
    for name in ("settings", "urls"):
        assert not [one for one in _imports(ROOT / "orbsite" / f"{name}.py") if one.startswith(DOMAINS)]


def test_no_operation_and_no_command_knows_an_app_by_name() -> None:
    paths = [path for name in ("operations", "management") for path in (ROOT / "orbsite" / name).rglob("*.py")]
    assert len(paths) > 60
    for path in paths:
        strings = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not strings & set(DOMAINS), path


def test_luna_and_te_have_the_same_rooms() -> None:
    special = {
        "luna": {"presets.py", "preferences.py", "mode_presets.json"},
        "te": {"reflection_log.py", "ownership.py", "item_encoder.py", "retention.py"},
    }
    rooms = [{path.name for path in (ROOT / name).iterdir()} - special[name] - {"__pycache__"} for name in DOMAINS]
    assert rooms[0] == rooms[1]


def test_no_input_is_checked_by_assert() -> None:
    paths = [path for path in _sources() if "testing" not in path.parts]  # which is a test suite
    assert len(paths) > 200
    assert not [
        f"{path}:{node.lineno}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]


def test_only_the_exported_test_suite_imports_pytest_and_hypothesis() -> None:
    banned = ("pytest", "_pytest", "hypothesis", "factory", "orbsite.testing")
    found = [path for path in _sources() if any(name.startswith(banned) for name in _imports(path))]
    assert found
    assert {path.parent.name for path in found} == {"testing"}


def test_no_folder_has_more_than_sixteen_modules_and_the_top_has_nine_at_most() -> None:
    folders = [path for path in (ROOT / "orbsite").rglob("*") if path.is_dir() and path.name not in UNBOUNDED]
    assert len(folders) > 25
    modules = {folder: [one for one in folder.glob("*.py") if one.name != "__init__.py"] for folder in folders}
    assert not {str(folder): len(found) for folder, found in modules.items() if len(found) > 16}
    assert len([one for one in (ROOT / "orbsite").glob("*.py") if one.name != "__init__.py"]) <= 9


def test_requirements_are_pinned_with_hashes_and_name_no_host() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text
        for line in re.findall(r"^[a-z].*", text, re.MULTILINE):
            assert "==" in line, line
            assert line.rstrip().endswith("\\"), line
