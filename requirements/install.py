"""Creates a virtual environment and installs pinned requirements into it: python install.py VENV FILE.

It installs exactly the pinned files: pip ignores the requirements of packages (`--no-deps`) and refuses files without a
pinned hash. `pip check` then verifies that the installed packages are consistent. check.py verifies that the pins are
complete.
"""

import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
PIP = ("-m", "pip", "--disable-pip-version-check")


def install(venv: Path, pins: Path) -> None:
    """Create the environment if it does not exist, and install the pins. Raises RuntimeError with the next step."""
    _make(venv)
    python = _python(venv)
    if _run(python, *PIP, "install", "--quiet", "--require-hashes", "--no-deps", "-r", pins):
        raise RuntimeError(
            f"{pins} was not installed; see the message of pip above.\n"
            "- If the package index was not reached: check the network, and the settings of pip for a proxy or another"
            " index (`pip config list`), and run the same command again.\n"
            "- If a release or a hash was not found: the index that pip uses lacks the pinned file for Python"
            f" {_version()} on this system; use another index, or another Python with `make PYTHON=...`.\n"
            "- Otherwise run `make clean` and try again."
        )
    if _run(python, *PIP, "check"):
        raise RuntimeError(
            f"The packages in {venv} are inconsistent; see the message of pip above. Run `make clean` and try again, to"
            " remove older packages. If the message stays the same, the pins are incomplete: run `make lock`."
        )


def _make(venv: Path) -> None:
    if sys.version_info < OLDEST:
        raise RuntimeError(
            f"This is Python {_version()} ({sys.executable}), but the project needs Python 3.11 or newer. Install one,"
            " run `make clean`, then `make PYTHON=python3.12 ...`."
        )
    if _is_usable(_python(venv)):
        return
    if _run(sys.executable, "-m", "venv", "--clear", venv):
        raise RuntimeError(
            f"The virtual environment {venv} was not created; see the message of Python above. On Debian and Ubuntu,"
            " install the package python3-venv. If the directory exists already, run `make clean` and try again."
        )


def _is_usable(python: Path) -> bool:
    """Tell whether an environment works, has pip, and has the version of this Python. It may have been moved."""
    script = "import sys, pip; raise SystemExit(sys.version_info[:2] != tuple(map(int, sys.argv[1:])))"
    command = [str(python), "-c", script, *map(str, sys.version_info[:2])]
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
    """Install the pins. On a failure, print the next step on standard error and return 1."""
    venv, pins = map(Path, sys.argv[1:])
    try:
        install(venv, pins)
    except RuntimeError as problem:
        sys.stderr.write(f"\n{problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
