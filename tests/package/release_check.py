"""Tries a release as its users would: python -m tests.package.release_check [PYTHON ...].

Builds both distributions, checks their metadata with twine, and for each Python installs the wheel with pip into empty
environments: alone for a plain script, with all extras for the three ways in, and with the oldest supported releases of
the direct dependencies. It needs the package index that pip is configured for, and some minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
EXTRAS, WITH_OLDEST = "[server,postgres]", "[server,postgres,django52]"
WAYS_IN = ("test_script.py", "test_orb.py", "test_host.py", "test_server.py")


def main() -> int:
    """Try the release with each Python; the exit code is 1 if something failed."""
    pythons = sys.argv[1:] or [*_found("3.11"), *_found("3.13")]
    with tempfile.TemporaryDirectory(prefix="orb-release-") as name:
        work = Path(name)
        _run(sys.executable, "-m", "hatchling", "build", "--directory", work / "dist")
        _check_metadata(work)
        (wheel,) = (work / "dist").glob("*.whl")
        for number, python in enumerate(pythons):
            _try(python, wheel, work / str(number))
    print(f"The release works with {', '.join(pythons)}.")  # noqa: T201
    return 0


def _found(version: str) -> list[str]:
    places = [Path.home() / ".pyenv/versions", Path("/usr/bin"), Path("/usr/local/bin")]
    found = [path for place in places for path in sorted(place.glob(f"{version}*/bin/python{version}"))]
    found += [path for place in places if (path := place / f"python{version}").exists()]
    return [str(path) for path in found[-1:]]


def _check_metadata(work: Path) -> None:
    python = _environment(sys.executable, work / "twine", "twine")
    _run(python, "-m", "twine", "check", "--strict", *(work / "dist").iterdir())


def _try(python: str, wheel: Path, work: Path) -> None:
    alone = _environment(python, work / "alone", str(wheel))
    _test(alone, "test_script.py")
    everything = _environment(python, work / "everything", f"{wheel}{EXTRAS}")
    _test(everything, *WAYS_IN)
    constraints = work / "floors.txt"
    constraints.write_text("".join(f"{line}\n" for line in _floors()))
    oldest = _environment(python, work / "oldest", f"{wheel}{WITH_OLDEST}", "--constraint", str(constraints))
    _test(oldest, *WAYS_IN)


def _floors() -> Iterator[str]:
    """Yield a constraint for each direct dependency: the release that its range begins with."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in (*project["dependencies"], *(one for name in ("api", "console", "server") for one in extras[name])):
        requirement = Requirement(line)
        for one in requirement.specifier:
            if one.operator == ">=":
                marker = f"; {requirement.marker}" if requirement.marker else ""
                yield f"{requirement.name}=={one.version}{marker}"


def _environment(python: str, path: Path, *requirements: str) -> Path:
    _run(python, "-m", "venv", path)
    made = path / "bin/python"
    _run(made, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *requirements)
    _run(made, "-m", "pip", "--disable-pip-version-check", "check")
    return made


def _test(python: Path, *files: str) -> None:
    paths = [f"tests/package/{name}" for name in files]
    environment = {**os.environ, "ORB_TESTS_INSTALLED": str(python.parents[1])}
    _run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths, environment=environment)


def _run(*command: object, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed with the exit code {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
