"""Stands between a client and PostgreSQL, and cuts the connection at a commit."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from tests.support.postgresql import Server
from tests.support.time_limits import time_limit
from tests.torture.migrator import BEFORE

_COMMIT = b"COMMIT\0"
"""How the client asks for it, and the server confirms it."""
_GENEROUS = 60.0


@dataclass
class Cut:
    """Which commit is cut: before it reaches the server, or after the server's answer is thrown away."""

    number: int
    when: str
    seen: int = 0
    done: bool = False


@contextmanager
def running(server: Server, cut: Cut) -> Iterator[dict[str, str]]:
    """Have a proxy; return how to reach it."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=_serve, args=(listening, f"{server.host}/.s.PGSQL.{server.port}", cut))
        thread.start()
        try:
            yield {"HOST": "127.0.0.1", "PORT": str(listening.getsockname()[1])}
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(time_limit(_GENEROUS))


def _serve(listening: socket.socket, path: str, cut: Cut) -> None:
    with suppress(OSError):  # it was closed
        while True:
            client, _ = listening.accept()
            with closing(client), closing(socket.socket(socket.AF_UNIX)) as server, suppress(ConnectionError):
                server.connect(path)
                _relay(client, server, cut)


def _relay(client: socket.socket, server: socket.socket, cut: Cut) -> None:
    """Pass on what comes, until either end closes or the commit is there."""
    with selectors.DefaultSelector() as both:
        both.register(client, selectors.EVENT_READ, server)
        both.register(server, selectors.EVENT_READ, client)
        while True:
            for key, _ in both.select(time_limit(_GENEROUS)):
                data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                is_commit = _COMMIT in data
                cut.seen += is_commit and key.fileobj is client
                source = client if cut.when == BEFORE else server
                if is_commit and key.fileobj is source and cut.seen == cut.number and not cut.done:
                    cut.done = True
                    return
                if not data:
                    return
                key.data.sendall(data)
