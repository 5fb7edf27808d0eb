"""A server for tests of the client, which answers what it is told to and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class PreparedAnswer(NamedTuple):
    """What the server answers next; a status of 0 closes the connection without an answer."""

    status: int
    body: Any = None
    headers: dict[str, str] = {}


class ReceivedRequest(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: Any


class FaultyServer:
    def __init__(self) -> None:
        self.script: list[PreparedAnswer] = []
        self.asked: list[ReceivedRequest] = []
        self.url = ""

    def tells(self, *answers: PreparedAnswer) -> None:
        self.script += answers


@contextlib.contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    told = FaultyServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.asked.append(ReceivedRequest(self.command, self.path, headers, json.loads(data) if data else None))
            status, body, more = told.script.pop(0)
            if not status:
                self.close_connection = True
                return
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            """Tell nobody."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
