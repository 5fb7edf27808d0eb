"""The project as its users install it: a wheel, built once in a run, in an environment of its own.

The environment takes the dependencies from the one that runs the tests, and refuses to open any file of the checkout.
`make release-check` names another one in ORB_TESTS_INSTALLED, into which pip has installed everything.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.processes import ended
from tests.support.shared_run import made_once
from tests.support.time_limits import time_limit

ROOT = Path(__file__).parents[2]
_LISTENING = re.compile(r"Listening at: (http://127\.0\.0\.1:\d+)")
_GUARD = """\
import os, sys
def refuse(event, arguments, root={root!r}, allowed={allowed!r}):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(root) and not path.startswith(allowed):
            raise PermissionError(f"a file of the checkout was opened: {{path}}")
sys.addaudithook(refuse)
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment that has the package."""

    path: Path

    @property
    def python(self) -> Path:
        return self.path / "bin/python"

    @property
    def orb(self) -> Path:
        return self.path / "bin/orb"

    def run(
        self, *command: object, cwd: Path, code: int | None = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, with a home directory and variables of its own."""
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env=self.variables(cwd, **variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=time_limit(120),
        )
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    def variables(self, home: Path, **more: str) -> dict[str, str]:
        return {"PATH": f"{self.path}/bin:{os.environ['PATH']}", "HOME": str(home), "PYTHONWARNINGS": "error", **more}


@contextlib.contextmanager
def serving(command: Sequence[object], work: Path, variables: dict[str, str]) -> Iterator[str]:
    """Run a server on a free port in a directory, which gets its log, and yield its address."""
    log = work / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=work,
            env=variables | {"ORB_BIND": "127.0.0.1:0", "WEB_CONCURRENCY": "1"},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    with ended(process):
        yield _address(log, process)
        process.terminate()
        process.wait(time_limit(30))


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + time_limit(60)
    while time.monotonic() < deadline and process.poll() is None:
        if match := _LISTENING.search(log.read_text()):
            return match[1]
        time.sleep(0.05)
    raise RuntimeError(log.read_text())


@cache
def wheel() -> Path:
    """Return the wheel, which the first caller of a run builds."""
    return _distribution("wheel", "*.whl")


@cache
def sdist() -> Path:
    """Return the source distribution, which the first caller of a run builds."""
    return _distribution("sdist", "*.tar.gz")


def _distribution(target: str, pattern: str) -> Path:
    with made_once(f"dist-{target}") as folder:
        if not folder.exists():
            command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=time_limit(60))
    (made,) = folder.glob(pattern)
    return made


@cache
def environment() -> Environment:
    """Return the environment with the wheel, which the first caller of a run makes."""
    if named := os.environ.get("ORB_TESTS_INSTALLED"):
        path = Path(named)
        _guard(path, [])
        return Environment(path)
    with made_once("installed") as path:
        if not path.exists():
            try:
                _make(path)
            except BaseException:
                shutil.rmtree(path, ignore_errors=True)
                raise
    return Environment(path)


def _make(path: Path) -> None:
    venv.create(path, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(path / "bin/python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel())], check=True)
    dependencies = [place for place in sys.path if place.endswith("site-packages")]
    _guard(path, dependencies)


def _guard(path: Path, dependencies: list[str]) -> None:
    """Let the environment use the packages of others, and refuse to open files of the checkout."""
    (packages,) = path.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("".join(f"{place}\n" for place in dependencies))
    allowed = tuple(f"{Path(place).resolve()}/" for place in (path, sys.prefix, sys.base_prefix, *dependencies))
    (packages / "guard_of_checkout.py").write_text(_GUARD.format(root=f"{ROOT.resolve()}/", allowed=allowed))
    (packages / "guard_of_checkout.pth").write_text("import guard_of_checkout\n")
