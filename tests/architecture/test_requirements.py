"""The pins: complete, and installed as they are, whatever else an index offers."""

from __future__ import annotations

import ast
import base64
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from requirements import audit, sbom
from requirements.check import NAMES, PYTHONS, Pin, check, chosen, environments, read_pins
from requirements.install import install
from tests.support.time_limits import time_limit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
FILES = tuple(f"{name}.txt" for name in NAMES)
COPIED = (*FILES, *(f"{name}.in" for name in NAMES), "metadata.json")
PINNED = {pin.key: pin for pin in read_pins(REQUIREMENTS / "dev.txt")}
METADATA = json.loads((REQUIREMENTS / "metadata.json").read_text())
MENDED = Version("23.3")
"""The first pip that keeps to a pin where a requirement has an extra."""
REDUCED = ("pytest-cov", "coverage", "pytest", "pluggy", "iniconfig", "packaging", "pygments")


def test_the_pins_are_complete() -> None:
    assert check() == []


def test_every_supported_python_and_system_is_checked() -> None:
    places = [place for place, _ in environments()]
    for python in PYTHONS:
        for system in ("linux x86_64", "linux aarch64", "darwin arm64", "win32 AMD64"):
            assert [place for place in places if place.startswith(f"Python {python}.") and place.endswith(system)]


def test_what_the_check_knows_of_a_package_is_what_the_package_says() -> None:
    told = 0
    for found in importlib.metadata.distributions():
        key = f"{canonicalize_name(found.metadata['Name'])}=={found.version}"
        if key in METADATA:
            told += 1
            requires = {str(Requirement(text)) for text in found.requires or ()}
            assert {str(Requirement(text)) for text in METADATA[key]["requires"]} == requires, key
            assert METADATA[key]["python"] == (found.metadata.get("Requires-Python", "")), key
    assert told > 50


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in COPIED:
        shutil.copy(REQUIREMENTS / name, tmp_path)
    return tmp_path


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _without(folder: Path, name: str) -> None:
    """Take a pin out of all files, and what is known of it."""
    for file in FILES:
        kept = [pin for pin in read_pins(folder / file) if pin.name != name]
        (folder / file).write_text("".join(_line(pin) for pin in kept))
    known = json.loads((folder / "metadata.json").read_text())
    known = {key: entry for key, entry in known.items() if not key.startswith(f"{name}==")}
    (folder / "metadata.json").write_text(json.dumps(known))


def _line(pin: Pin) -> str:
    marker = f" ; {pin.marker}" if pin.marker else ""
    return " ".join([f"{pin.key}{marker}", *(f"--hash={one}" for one in pin.hashes)]) + "\n"


def _says(folder: Path, key: str, **entry: Any) -> None:
    """Change what is known of a package."""
    known = json.loads((folder / "metadata.json").read_text())
    known[key] |= entry
    (folder / "metadata.json").write_text(json.dumps(known))


def _key(name: str) -> str:
    return next(key for key, pin in PINNED.items() if pin.name == name)


@pytest.mark.parametrize(
    ("name", "by"), [("coverage", "pytest-cov"), ("sqlparse", "django"), ("drf-spectacular-sidecar", "drf-spectacular")]
)
def test_a_pin_that_is_missing_is_found(copy: Path, name: str, by: str) -> None:
    _without(copy, name)
    problems = check(copy)
    assert [one for one in problems if f"requires {name}" in one and by in one and "it is not pinned" in one]


def test_a_direct_requirement_that_is_missing_is_found(copy: Path) -> None:
    _without(copy, "segno")
    (problem,) = (one for one in check(copy) if one.startswith("base.txt: "))
    assert re.match(r"base\.txt: the project requires segno\S*, and it is not pinned", problem)


def test_a_version_that_a_dependent_does_not_accept_is_found(copy: Path) -> None:
    coverage, cov = _key("coverage"), _key("pytest-cov")
    _says(copy, cov, requires=["coverage[toml]>=999", "pluggy>=1.2", "pytest>=7"])
    (problem,) = check(copy)
    assert problem.startswith(
        f"dev.txt: {cov} requires coverage[toml]>=999, and {coverage} is pinned (Python 3.11.0 on"
    )


def test_what_an_extra_requires_is_looked_for(copy: Path) -> None:
    coverage = _key("coverage")
    _says(copy, coverage, requires=['tomli; extra == "toml" and python_version < "3.12"'])
    (problem,) = check(copy)
    assert problem.startswith(f"dev.txt: coverage[toml]=={PINNED[coverage].version} requires tomli;")
    assert "it is not pinned (Python 3.11.0 on linux x86_64, and 11 more)" in problem


def test_an_extra_that_nothing_asks_for_is_not_looked_for(copy: Path) -> None:
    _says(copy, _key("coverage"), extras=["toml", "rare"], requires=['never-pinned; extra == "rare"'])
    assert check(copy) == []


def test_an_extra_that_asks_for_another_of_the_same_package_is_followed(copy: Path) -> None:
    requires = ['coverage[rare]; extra == "toml"', 'never-pinned; extra == "rare"']
    _says(copy, _key("coverage"), extras=["toml", "rare"], requires=requires)
    assert ["requires never-pinned" in one for one in check(copy)] == [True]


def test_an_extra_that_a_package_does_not_have_is_found(copy: Path) -> None:
    _says(copy, _key("coverage"), extras=[])
    (problem,) = check(copy)
    assert "has no extra of that name" in problem


@pytest.mark.parametrize(
    "marker", ['sys_platform == "win32"', 'python_version >= "3.14"', 'platform_machine == "arm64"']
)
def test_a_requirement_of_another_system_or_python_is_found(copy: Path, marker: str) -> None:
    _says(copy, _key("iniconfig"), requires=[f"never-pinned; {marker}"])
    (problem,) = check(copy)
    assert "requires never-pinned" in problem


def test_a_pin_that_does_not_run_on_a_supported_python_is_found(copy: Path) -> None:
    _says(copy, _key("iniconfig"), python=">=3.12")
    (problem,) = check(copy)
    assert problem.startswith(f"dev.txt: {_key('iniconfig')} requires Python >=3.12 (Python 3.11.0 on")


def test_two_pins_of_one_package_are_found(copy: Path) -> None:
    _edit(copy / "dev.txt", "; python_full_version < '3.12'", "")
    assert any("are both pinned (Python 3.12.0" in one for one in check(copy))


def test_a_pin_that_only_base_has_is_found(copy: Path) -> None:
    kept = [pin for pin in read_pins(copy / "dev.txt") if pin.name != "segno"]
    (copy / "dev.txt").write_text("".join(map(_line, kept)))
    assert any(one.startswith(f"base.txt has {_key('segno')}, and dev.txt does not") for one in check(copy))


@pytest.mark.parametrize(
    ("old", "new"),
    [(_key("idna"), "idna==0.1"), (PINNED[_key("idna")].hashes[0], "sha256:" + "0" * 64)],
    ids=["another version", "another hash"],
)
def test_metadata_of_other_pins_is_refused(copy: Path, old: str, new: str) -> None:
    _edit(copy / "dev.txt", old, new)
    problems = check(copy)
    assert problems
    assert all("metadata.json" in one and "make lock" in one for one in problems)


@pytest.mark.parametrize("line", ["idna>=3\n", "idna==3.*  --hash=sha256:00\n", "idna==3.20\n", "idna ; --hash\n"])
def test_what_is_no_pin_is_refused(copy: Path, line: str) -> None:
    (copy / "dev.txt").write_text(line)
    done = subprocess.run(
        [sys.executable, REQUIREMENTS / "check.py"], cwd=ROOT, capture_output=True, check=False, timeout=time_limit(60)
    )
    assert (done.returncode, done.stderr) == (0, b"")
    with pytest.raises(ValueError, match=r"dev\.txt: idna"):
        check(copy)


def _wheel(index: Path, name: str, version: str, requires: list[str], extras: list[str]) -> str:
    """Make a wheel with nothing but metadata, and return its hash."""
    stem = f"{name.replace('-', '_')}-{version}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Provides-Extra: {one}" for one in extras] + [f"Requires-Dist: {one}" for one in requires]
    files = {
        "METADATA": "\n".join(lines) + "\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = index / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for file, text in files.items():
            archive.writestr(f"{stem}.dist-info/{file}", text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{stem}.dist-info/{file},sha256={digest},{len(text)}\n"
        archive.writestr(f"{stem}.dist-info/RECORD", f"{record}{stem}.dist-info/RECORD,,\n")
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the pins, and an index that offers what is pinned, and a newer release of each package."""
    folder = tmp_path_factory.mktemp("index")
    here = {**default_environment(), "extra": ""}
    lines = {}
    for pin in chosen(list(PINNED.values()), here):
        if pin.name == "pip":  # the environment has one that works
            continue
        known = METADATA[pin.key]
        digest = _wheel(folder, pin.name, pin.version, known["requires"], known["extras"])
        _wheel(folder, pin.name, f"{Version(pin.version).major + 1}.0", known["requires"], known["extras"])
        lines[pin.name] = f"{pin.key} --hash={digest}\n"
    (folder / "pins.txt").write_text("".join(lines.values()))
    (folder / "reduced.txt").write_text("".join(lines[name] for name in REDUCED))
    return folder


@pytest.fixture(scope="module", params=["the pip that Python ships", "the pip that is pinned"])
def venv(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    if request.param == "the pip that is pinned":
        (packages,) = folder.glob("lib/python*/site-packages")
        for path in packages.glob("pip*"):
            shutil.rmtree(path)
        found = importlib.metadata.distribution("pip")
        for name in ("pip", f"pip-{found.version}.dist-info"):
            shutil.copytree(Path(str(found.locate_file(name))), packages / name)
    yield folder
    shutil.rmtree(folder)


def _run(index: Path, *command: object) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    offline = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_NO_CACHE_DIR": "1",
    }
    return subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**kept, **offline},
        capture_output=True,
        text=True,
        check=False,
        timeout=time_limit(200),
    )


def _installed(venv: Path) -> dict[str, str]:
    (packages,) = venv.glob("lib/python*/site-packages")
    found = importlib.metadata.distributions(path=[str(packages)])
    return {str(canonicalize_name(one.metadata["Name"])): one.version for one in found}


def test_what_is_pinned_is_installed_whatever_newer_an_index_offers(index: Path, venv: Path) -> None:
    version = _installed(venv)["pip"]
    done = _run(index, sys.executable, REQUIREMENTS / "install.py", venv, index / "pins.txt")
    assert done.returncode == 0, done.stdout + done.stderr
    pinned = {pin.name: pin.version for pin in read_pins(index / "pins.txt")}
    assert "coverage" in pinned
    assert pinned.items() <= _installed(venv).items()
    assert _installed(venv)["pip"] == version


def test_an_old_pip_that_follows_requirements_takes_what_is_not_pinned(index: Path, venv: Path) -> None:
    pip = [venv / "bin/python", "-m", "pip", "install", "--dry-run", "--ignore-installed", "--require-hashes"]
    done = _run(index, *pip, "-r", index / "reduced.txt")
    if Version(_installed(venv)["pip"]) < MENDED:
        assert done.returncode != 0
        assert "must have their versions pinned with ==" in done.stderr
        assert "coverage[toml]" in done.stderr
    else:
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pins", ["nowhere==1 --hash=sha256:00\n", "never-there>=7\n"])
def test_an_installation_that_fails_says_what_to_do(index: Path, tmp_path: Path, venv: Path, pins: str) -> None:
    (tmp_path / "pins.txt").write_text(pins)
    done = _run(index, sys.executable, REQUIREMENTS / "install.py", venv, tmp_path / "pins.txt")
    assert done.returncode == 1
    for told in ("pins.txt was not installed", "check the network", "make PYTHON=", "make clean"):
        assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_that_is_too_old_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    with pytest.raises(RuntimeError, match=r"needs Python 3\.11 or newer.*make PYTHON="):
        install(tmp_path / "venv", REQUIREMENTS / "base.txt")
    assert list(tmp_path.iterdir()) == []


def test_an_old_python_can_read_what_tells_it_so() -> None:
    ast.parse((REQUIREMENTS / "install.py").read_text(), feature_version=(3, 6))


def test_an_environment_that_was_moved_is_made_anew(index: Path, tmp_path: Path) -> None:
    python = tmp_path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(tmp_path / "gone")
    (index / "one.txt").write_text((index / "reduced.txt").read_text().splitlines()[-1] + "\n")
    done = _run(index, sys.executable, REQUIREMENTS / "install.py", tmp_path / "venv", index / "one.txt")
    assert done.returncode == 0, done.stderr
    assert "pygments" in _installed(tmp_path / "venv")


def test_packages_that_do_not_fit_together_are_told(tmp_path: Path, venv: Path) -> None:
    digest = _wheel(tmp_path, "lonely", "1.0", ["never-there"], [])
    (tmp_path / "pins.txt").write_text(f"lonely==1.0 --hash={digest}\n")
    done = _run(tmp_path, sys.executable, REQUIREMENTS / "install.py", venv, tmp_path / "pins.txt")
    assert done.returncode == 1
    assert "are inconsistent" in done.stderr
    assert "make clean" in done.stderr


def test_running_needs_base_alone_and_the_rest_dev() -> None:
    targets = {
        line.split(":")[0]: line.split(":")[1].split()
        for line in (ROOT / "Makefile").read_text().splitlines()
        if line and line[0].isalpha() and ": " in line and "export" not in line and ":=" not in line
    }
    assert targets["run"] == targets["serve"] == ["$(BASE)", ".env"]
    assert targets["install"] == ["$(DEV)", ".env"]
    assert targets["docs"] == ["$(DOCS)"]
    assert all(targets[name] == ["install"] for name in ("test", "check", "torture", "bench", "openapi"))


def test_the_bill_of_materials_is_what_the_pins_say() -> None:
    assert (REQUIREMENTS / "sbom.json").read_text() == sbom.made()
    bill = json.loads(sbom.made())
    pins = {pin.key: pin for pin in read_pins(REQUIREMENTS / "base.txt")}
    listed = {f"{one['name']}=={one['version']}": one for one in bill["components"]}
    assert listed.keys() == pins.keys()
    for key, one in listed.items():
        assert {f"sha256:{each['content']}" for each in one["hashes"]} == set(pins[key].hashes)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)


def test_the_bill_of_materials_tells_what_requires_what() -> None:
    bill = json.loads(sbom.made())
    refs = {one["bom-ref"] for one in bill["components"]} | {"orb-persistence"}
    needed = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    assert needed.keys() == refs
    assert {ref for each in needed.values() for ref in each} <= refs

    def short(ref: str) -> str:
        return ref.partition("/")[2].partition("@")[0]

    told = {short(ref): {short(one) for one in each} for ref, each in needed.items()}
    assert "psycopg-binary" in told["psycopg"], "an extra of the project's"
    assert {"asgiref", "sqlparse"} <= told["django"]
    reached, todo = set[str](), ["orb-persistence"]
    while todo:
        ref = todo.pop()
        todo += [one for one in needed[ref] if one not in reached]
        reached.add(ref)
    assert reached == refs, "nothing is pinned that nothing requires"


@pytest.mark.parametrize("file", FILES)
def test_no_release_is_older_than_the_first_without_known_vulnerabilities(file: str) -> None:
    pins = read_pins(REQUIREMENTS / file)
    old = [pin.key for pin in pins if Version(pin.version) < Version(audit.FLOORS.get(pin.name, "0"))]
    assert old == []
    assert audit.FLOORS.keys() <= {pin.name for pin in read_pins(REQUIREMENTS / "dev.txt")}


REPORT = {
    "dependencies": [
        {"name": "one", "version": "1.0", "vulns": []},
        {
            "name": "two",
            "version": "2.0",
            "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}, {"id": "GHSA-2", "fix_versions": []}],
        },
    ]
}


def test_a_known_vulnerability_is_told_with_the_release_that_mends_it() -> None:
    assert audit.vulnerabilities(REPORT) == [
        "two 2.0 has PYSEC-1; it is fixed in 2.1",
        "two 2.0 has GHSA-2; it is fixed in no release",
    ]
    with pytest.raises(audit.Unverified, match="three was skipped"):
        audit.vulnerabilities({"dependencies": [{"name": "three", "skip_reason": "not there"}]})


def _pip_audit(place: Path, program: str) -> Path:
    """Have a Python whose pip_audit is a program."""
    (place / "pip_audit.py").write_text(program)
    python = place / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={place} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def test_the_next_service_is_asked_where_one_does_not_answer(tmp_path: Path) -> None:
    python = _pip_audit(
        tmp_path,
        "import sys, json\n"
        "if '--vulnerability-service=pypi' in sys.argv: sys.exit('ERROR: not reached')\n"
        "assert '--strict' in sys.argv and '--require-hashes' in sys.argv\n"
        f"print(json.dumps({REPORT!r}))",
    )
    assert len(audit.audit([REQUIREMENTS / "base.txt"], python)) == 2


@pytest.mark.parametrize("program", ["import sys; sys.exit('ERROR: asgiref could not be audited')", "", "print('{')"])
@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--required"], 2)])
def test_advisories_that_cannot_be_reached_are_said_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str,
    *, arguments: list[str], code: int,
) -> None:  # fmt: skip
    python = _pip_audit(tmp_path, program)
    monkeypatch.setattr(audit, "_installed", lambda _: python)
    monkeypatch.setattr(sys, "argv", ["audit.py", *arguments])
    assert audit.main() == code
    assert capsys.readouterr().err.startswith("UNVERIFIED: ")


def test_the_run_of_everything_audits_the_pins() -> None:
    assert "requirements/audit.py" in (ROOT / ".ci/run").read_text()
    assert "requirements/sbom.py --check" in (ROOT / "Makefile").read_text()
