"""What is in the wheel and in the source distribution, and what they say of themselves."""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import orbsite
from requirements.check import read_direct
from tests.support.installed import ROOT, sdist, wheel

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("orbsite", "luna", "te")


def _sources() -> set[str]:
    found = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def _of_extras(names: list[str]) -> list[str]:
    """Return what extras require, without the other extras of the project that they take in."""
    listed = [line for name in names for line in PROJECT["optional-dependencies"][name]]
    return [line for line in listed if not line.startswith(PROJECT["name"])]


def _ranges(lines: list[str] | list[Requirement]) -> set[tuple[str, frozenset[str], str, str]]:
    told = [Requirement(str(line)) for line in lines]
    return {
        (canonicalize_name(one.name), frozenset(one.extras), str(one.specifier), str(one.marker or "")) for one in told
    }


def test_the_ranges_of_the_package_are_those_that_the_pins_are_made_from() -> None:
    running = PROJECT["dependencies"] + _of_extras(["postgres", "api", "console", "server"])
    assert _ranges(running) == _ranges(list(read_direct(ROOT / "requirements/base.in")))
    assert _of_extras(["django52"]) == ["django-tasks-db[compat]>=0.13"]  # as for Python 3.11
    assert _ranges(_of_extras(["testing"])) <= _ranges(list(read_direct(ROOT / "requirements/dev.in")))
    assert set(PROJECT["optional-dependencies"]) == {"postgres", "api", "console", "server", "django52", "testing"}


@pytest.mark.parametrize("name", PROJECT["optional-dependencies"])
def test_every_range_has_a_floor(name: str) -> None:
    for line in PROJECT["dependencies"] + _of_extras([name]):
        assert any(one.operator == ">=" for one in Requirement(line).specifier), line


def test_the_version_stands_in_one_place() -> None:
    assert "version" in PROJECT["dynamic"]
    assert orbsite.__version__ not in (ROOT / "pyproject.toml").read_text()


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_packages_and_no_other() -> None:
    with zipfile.ZipFile(wheel()) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == _sources()
    for kind in (".html", ".css", ".js", ".json", "py.typed", "migrations/0001_initial.py"):
        assert any(name.endswith(kind) for name in names), kind


@pytest.mark.slow
def test_the_wheel_tells_version_extras_and_licence() -> None:
    with zipfile.ZipFile(wheel()) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        told = message_from_string(archive.read(path).decode())
        names = archive.namelist()
    assert told["Version"] == orbsite.__version__
    assert set(told.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    assert told["License-Expression"] == "MIT"
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_source_distribution_has_what_the_wheel_is_built_from() -> None:
    with tarfile.open(sdist()) as archive:
        names = {str(Path(*Path(name).parts[1:])) for name in archive.getnames()}
    assert _sources() | {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    assert not [name for name in names if name.startswith(("tests", "sample", "requirements"))]
