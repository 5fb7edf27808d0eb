"""Serves the API from processes that die at random: between any two statements, and while they answer.

    python -m tests.api.dying_server PORT-FILE SEED

Each process answers one connection after the other. A process that died is replaced. Claims of dead processes are
believed for a moment only, so that clients who try again meet them.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

PROCESSES = 4
ODDS = 0.02
"""How likely a process dies at a place where it can."""


class _Handler(WSGIRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


class _Server(WSGIServer):
    def __init__(self, listening: socket.socket) -> None:
        super().__init__(listening.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = "127.0.0.1", listening.getsockname()[1]
        self.setup_environ()


def _die_at_random(dice: random.Random) -> None:
    if dice.random() < ODDS:
        os.kill(os.getpid(), signal.SIGKILL)


def _prepared() -> Any:
    """Return the application with all that it imports, so that a new process has nothing to load."""
    import django

    django.setup()
    from django.db import connections
    from django.urls import get_resolver

    from orbsite.api import idempotency
    from orbsite.wsgi import application

    idempotency.LONGEST, idempotency.PATIENCE = timedelta(seconds=0.5), 0.1
    get_resolver()._populate()
    connections.close_all()
    return application


def _serve(application: Any, listening: socket.socket, dice: random.Random) -> None:
    from django.db.backends.signals import connection_created

    def around(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        _die_at_random(dice)
        done = execute(sql, parameters, many, context)
        _die_at_random(dice)
        return done

    def watch(connection: Any, **_: Any) -> None:
        connection.execute_wrappers.append(around)
        commit = connection._commit

        def committed() -> None:
            commit()
            _die_at_random(dice)

        connection._commit = committed

    connection_created.connect(watch, weak=False)
    server = _Server(listening)
    server.set_app(application)
    server.serve_forever()


def main(port_file: Path, seed: int) -> None:
    application = _prepared()
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    port_file.write_text(str(listening.getsockname()[1]))
    children: set[int] = set()

    def stop(number: int, frame: FrameType | None) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    started = 0
    while True:
        while len(children) < PROCESSES:
            started += 1
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                _serve(application, listening, random.Random(seed * 1_000_003 + started))
            children.add(child)
        ended, _ = os.wait()
        children.discard(ended)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
