"""The steps of the container's build, and a server as the container runs it, in clean directories."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.utils import canonicalize_name

import orbsite
from requirements.check import read_pins
from tests.deploy.test_containerfile import copied
from tests.support.installed import ROOT, environment, serving
from tests.support.shared_run import made_once
from tests.support.time_limits import time_limit

SECRET_KEY = "for-tests-alone-Yq3VbX7mWc9LkT2pRz8NsHd5GfJu4EaQwS6yDxB1"
BUILD, BASE = (list(read_pins(ROOT / "requirements" / f"{name}.txt")) for name in ("build", "base"))


def _run(*command: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=time_limit(250),
    )


def test_the_packages_that_build_the_wheel_are_those_of_the_tests() -> None:
    pinned = {pin.key: pin.hashes for pin in read_pins(ROOT / "requirements/dev.txt")}
    assert [pin.name for pin in BUILD if pin.name == "hatchling"]
    assert {pin.key: pin.hashes for pin in BUILD}.items() <= pinned.items()


def _checkout(place: Path) -> Path:
    """Make a directory with only what the container's build copies."""
    for name in copied():
        source, target = ROOT / name, place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignored) if source.is_dir() else shutil.copy(source, target)
    return place


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that deploy/install.sh makes, once in a run, which needs a package index."""
    work = tmp_path_factory.mktemp("installed")
    probe = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", work / "probe", BUILD[0].key]
    with made_once("deployed") as made:
        place = made.with_name("deployed-orb")
        if not made.exists():
            if (found := _run(*probe, cwd=work)).returncode and not os.environ.get("CI"):
                pytest.skip(f"no package index is reached: {found.stderr.strip().splitlines()[-1]}")
            checkout = _checkout(work / "checkout")
            first = _installation(checkout, place)
            built = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", work]
            assert _run(*built, cwd=checkout).returncode == 0
            again = _installation(checkout, place, *work.glob("*.whl"))
            made.write_text(f"{first}\n{again}\n")
    return place


def _installation(checkout: Path, place: Path, *wheel: Path) -> str:
    """Install, and return the last line that the script prints."""
    done = _run(checkout / "deploy/install.sh", place, *wheel, cwd=checkout, PYTHON=sys.executable, PIP_NO_COMPILE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_exactly_the_pinned_packages_and_the_wheel_are_installed(installed: Path) -> None:
    listed = _run(installed / "bin/python", "-m", "pip", "list", "--format=freeze", cwd=installed).stdout.split()
    found = {str(canonicalize_name(name)): version for name, _, version in (line.partition("==") for line in listed)}
    assert found.pop("orb-persistence") == orbsite.__version__
    assert {"django", "gunicorn", "psycopg", "psycopg-binary"} <= found.keys()
    others = {f"{name}=={version}" for name, version in found.items()} - {pin.key for pin in BASE}
    assert {one.partition("==")[0] for one in others} <= {"pip", "setuptools"}  # of the environment itself


@pytest.mark.slow
def test_an_installation_can_be_repeated_with_a_wheel(installed: Path) -> None:
    told = installed.with_name("deployed").read_text()
    assert told.splitlines() == [f"orb {orbsite.__version__}"] * 2


def test_the_script_tells_its_use(tmp_path: Path) -> None:
    done = _run(ROOT / "deploy/install.sh", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "DESTINATION [WHEEL]" in done.stderr


def _variables(home: Path, **more: str) -> dict[str, str]:
    """Return the variables of the image, with SQLite."""
    settings = {"SECRET_KEY": SECRET_KEY, "ALLOWED_HOSTS": "orb.example.org", "ORB_PROXIES": "1", "ORB_HOME": str(home)}
    return {"PATH": os.environ["PATH"], "ORB_PERSISTENCE": "sql", "ORB_ALLOW_SQLITE": "true", **settings, **more}


def _healthcheck(cwd: Path, port: object, **more: str) -> subprocess.CompletedProcess[str]:
    script = ROOT / "deploy/healthcheck.py"
    asked = {"ORB_BIND": f"0.0.0.0:{port}", "ALLOWED_HOSTS": "orb.example.org,other.example.org", **more}
    return _run(sys.executable, script, cwd=cwd, **asked)


def _wait_until_healthy(cwd: Path, port: object) -> None:
    """Repeat the check, as a container does: it gives up after 4 seconds, in which a busy machine starts no worker."""
    end = time.monotonic() + time_limit(60)
    while (found := _healthcheck(cwd, port)).returncode:
        assert time.monotonic() < end, found.stderr
        time.sleep(0.2)


@pytest.mark.slow
def test_an_installed_server_runs_and_is_healthy(installed: Path, tmp_path: Path) -> None:
    variables = _variables(tmp_path)
    orb = installed / "bin/orb"
    subprocess.run([orb, "migrate", "--verbosity", "0"], env=variables, cwd=tmp_path, check=True)
    with serving([orb, "serve"], tmp_path, variables) as url:
        port = urlsplit(url).port
        _wait_until_healthy(tmp_path, port)
        refused = _healthcheck(tmp_path, port, ALLOWED_HOSTS="elsewhere.example.org")
        assert (refused.returncode, refused.stderr) == (1, f"/livez on port {port} answers 400\n")
    ended = _healthcheck(tmp_path, port)
    assert ended.returncode == 1
    assert f"/livez on port {port} does not respond" in ended.stderr


@pytest.mark.slow
@pytest.mark.torture
def test_a_server_needs_one_writable_directory_and_no_capability(tmp_path: Path) -> None:
    """As in a container: every file system is read-only but the home and /tmp, which is in memory."""
    home, memory = tmp_path / "home", tmp_path / "memory"
    for place in (home, memory, home / ".orb-data"):
        place.mkdir(mode=0o700)
    confine = tmp_path / "confine"
    confine.write_text(
        "set -e\n"
        f'mount --bind "{home}" "{home}"\n'
        f'mount -t tmpfs -o mode=1777 tmpfs "{memory}"\n'
        "mount -o remount,bind,ro /\n"
        "mount -t tmpfs -o ro tmpfs /dev/shm\n"
        'exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"\n'
    )
    confined = ["unshare", "--mount", "--propagation", "private", "sh", confine]
    writes = _run(*confined, "touch", tmp_path / "file", cwd=tmp_path)
    assert "Read-only file system" in writes.stderr
    variables = _variables(home, TMPDIR=str(memory), PYTHONDONTWRITEBYTECODE="1", HOME=str(home))
    orb = environment().orb
    subprocess.run([*confined, orb, "migrate", "--verbosity", "0"], env=variables, cwd=home, check=True)
    with serving([*confined, orb, "serve"], home, variables) as url:
        _wait_until_healthy(tmp_path, urlsplit(url).port)
    for command in ("run_orb_maintenance", "create_orb_backup"):
        done = subprocess.run(
            [*confined, orb, command], env=variables, cwd=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in home.iterdir()} >= {"db.sqlite3", ".static", ".orb-backups"}
