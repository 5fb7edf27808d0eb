"""PgBouncer in front of a throw-away PostgreSQL server, reachable through a Unix socket only."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any, Literal

import pytest
from django.db import connections

from tests.support.postgresql import Place, Unavailable, account, base_directory
from tests.support.scratch import ALIAS, known_as
from tests.support.time_limits import time_limit

Mode = Literal["session", "transaction", "statement"]
PORT = 6432


@dataclass(frozen=True)
class Pooler:
    """A pooler that trusts everybody and has its socket in the directory `host`."""

    host: str
    port: int


@contextmanager
def pooling(server: Place, mode: Mode = "transaction", **settings: str) -> Iterator[Pooler]:
    """Run a pooler in front of a server, and stop it at the end. Raises Unavailable.

    It takes turns with its sessions, so that two transactions of a client seldom have the same one.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        raise Unavailable("no PgBouncer: install pgbouncer")
    home = Path(tempfile.mkdtemp(prefix="pgbouncer-", dir=base_directory()))
    try:
        values = {
            "listen_addr": "",
            "unix_socket_dir": str(home),
            "listen_port": str(PORT),
            "auth_type": "any",
            "pool_mode": mode,
            "server_round_robin": "1",
            "max_client_conn": "300",
            "default_pool_size": "40",
            **settings,
        }
        lines = ["[databases]", f"* = host={server.host} port={server.port} user={server.user}", "[pgbouncer]"]
        (home / "pgbouncer.ini").write_text("\n".join([*lines, *(f"{name} = {values[name]}" for name in values)]))
        owner = account()
        os.chown(home, owner.get("user", -1), owner.get("group", -1))
        with (home / "log").open("w") as log:
            process = Popen([program, "-q", str(home / "pgbouncer.ini")], stdout=log, stderr=log, **owner)
        try:
            _wait(home, process)
            yield Pooler(str(home), PORT)
        finally:
            process.kill()
            process.wait(time_limit(20))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _wait(home: Path, process: Popen[bytes]) -> None:
    deadline = time.monotonic() + time_limit(20)
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as one:
            one.connect(f"{home}/.s.PGSQL.{PORT}")
            return
        time.sleep(0.02)
    raise RuntimeError((home / "log").read_text())


@contextmanager
def pooled_alias(place: dict[str, Any], mode: Mode = "transaction", **more: Any) -> Iterator[str]:
    """Give Django the database at a place through a pooler. Skips the test without PgBouncer."""
    usual = {**connections.databases["default"], "ENGINE": "django.db.backends.postgresql", "OPTIONS": {}}
    server = Place(place["HOST"], int(place["PORT"]), place["USER"])
    with or_skipped(), pooling(server, mode) as pooler, ExitStack() as stack:
        place = {**place, "HOST": pooler.host, "PORT": str(pooler.port)}
        stack.enter_context(known_as(ALIAS, {**usual, **place, **more}))
        yield ALIAS


def past_the_pooler(place: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with which a pooled alias has sessions of the server itself."""
    return {"DISABLE_SERVER_SIDE_CURSORS": True, "DIRECT": {name: place[name] for name in ("HOST", "PORT")}}


@contextmanager
def or_skipped() -> Iterator[None]:
    """Skip the test where this machine lacks a program, but not in CI."""
    try:
        yield
    except Unavailable as problem:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(problem))
