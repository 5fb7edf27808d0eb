"""Installs pinned requirements into a virtual environment, which is made first: python install.py VENV FILE.

Exactly what the file pins is installed, whatever else an index offers: pip is told to follow no requirement of a
package (`--no-deps`) and to take no file whose hash is not pinned. `pip check` then says whether what is there fits
together; check.py says whether the pins are complete.
"""

import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
PIP = ("-m", "pip", "--disable-pip-version-check")


def install(venv: Path, pins: Path) -> None:
    """Make the environment where it is not there, and install; a failure is a RuntimeError that says what to do."""
    _make(venv)
    python = _python(venv)
    if _run(python, *PIP, "install", "--quiet", "--require-hashes", "--no-deps", "-r", pins):
        raise RuntimeError(
            f"{pins} was not installed; pip says why above.\n"
            "- If the package index was not reached: check the network, and the settings of pip for a proxy or another"
            " index (`pip config list`), and run the same command again.\n"
            "- If a release or a hash was not found: the index that pip uses lacks the pinned file for Python"
            f" {_version()} on this system; use another index, or another Python with `make PYTHON=...`.\n"
            "- Otherwise run `make clean` and try again."
        )
    if _run(python, *PIP, "check"):
        raise RuntimeError(
            f"What is installed in {venv} does not fit together; pip says why above. Run `make clean` and try again, so"
            " that nothing older is left there. If it says the same then, the pins are not complete: run `make lock`."
        )


def _make(venv: Path) -> None:
    if sys.version_info < OLDEST:
        raise RuntimeError(
            f"This is Python {_version()} ({sys.executable}), and the project needs Python 3.11 or newer. Install one,"
            " and name it: `make PYTHON=python3.12 ...`, after `make clean`."
        )
    if _is_usable(_python(venv)):
        return
    if _run(sys.executable, "-m", "venv", "--clear", venv):
        raise RuntimeError(
            f"The virtual environment {venv} was not made; Python says why above. On Debian and Ubuntu, install the"
            " package python3-venv. If the directory is in the way, run `make clean` and try again."
        )


def _is_usable(python: Path) -> bool:
    """Tell whether an environment works, has pip, and is of the Python that runs this; it may have been moved."""
    tell = "import sys, pip; raise SystemExit(sys.version_info[:2] != tuple(map(int, sys.argv[1:])))"
    command = [str(python), "-c", tell, *map(str, sys.version_info[:2])]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _python(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _run(*command: object) -> int:
    return subprocess.run(list(map(str, command)), check=False).returncode


def main() -> int:
    """Install, and return 1 where that failed, with what to do on standard error."""
    venv, pins = map(Path, sys.argv[1:])
    try:
        install(venv, pins)
    except RuntimeError as problem:
        sys.stderr.write(f"\n{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
