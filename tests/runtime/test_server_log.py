"""What gunicorn itself logs: of a request that it refuses, or that never ends, nothing that the client sent."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import ROOT, _port

pytestmark = pytest.mark.slow

CANARY = "orb_4f1c_secret"


class Plain:
    """A gunicorn with the project's settings and a plain application."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self._log = port, log

    def send(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as client:
            client.sendall(request)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while piece := client.recv(65536):
                    answer += piece
            return answer

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def wait_for(self, text: str) -> str:
        """Return the log once it has a text."""
        deadline = time.monotonic() + 120
        while text not in self._log.read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert text in self._log.read_text()
        return self._log.read_text()


@contextlib.contextmanager
def plain_server(work: Path, *options: str, **more: str) -> Iterator[Plain]:
    usual = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    environment = {**usual, "ORB_BIND": "127.0.0.1:0", "WEB_CONCURRENCY": "1", "HOME": str(work), **more}
    command = [sys.executable, "-m", "gunicorn", "--config", "python:orbsite.runtime.gunicorn", *options]
    log = work / "server.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, "tests.api.plain_application"], cwd=ROOT, env=environment, stdout=stream, stderr=stream
        )
        try:
            yield Plain(_port(log, process), log)
        finally:
            process.terminate()
            process.wait(60)


REFUSED = {
    "a header without a colon": b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization Bearer %s\r\n\r\n",
    "a header of no name": b"GET / HTTP/1.1\r\nHost: a\r\nBearer %s: x\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer\r\n %s\r\n\r\n",
    "a version": b"GET / HTTP/%s\r\nHost: a\r\n\r\n",
    "a request line": b"GET /%s\r\nHost: a\r\n\r\n",
    "a method": b"get:%s / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: %s\r\n\r\n",
    "a length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n",
    "an expectation": b"POST / HTTP/1.1\r\nHost: a\r\nExpect: %s\r\nContent-Length: 1\r\n\r\n",
    "a long line": b"GET /%s" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "an encoded NUL": b"GET /\x00%s HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.slow
def test_of_a_request_that_the_server_refuses_the_log_has_the_kind_of_mistake_alone(tmp_path: Path) -> None:
    with plain_server(tmp_path) as server:
        for name, request in REFUSED.items():
            answer = server.send(request.replace(b"%s", CANARY.encode()))
            assert answer.startswith(b"HTTP/1.1 ") or not answer, name
        text = server.wait_for("InvalidHeader")
    assert CANARY not in text
    refused = [line for line in server.lines() if line["message"].startswith("Invalid request from ip=127.0.0.1: ")]
    assert len(refused) >= 5


@pytest.mark.slow
def test_of_a_request_that_never_ends_the_log_has_no_address(tmp_path: Path) -> None:
    with plain_server(tmp_path, "--worker-class", "sync", "--threads", "1", "--timeout", "2") as server:
        server.send(f"GET /hang/{CANARY}?a={CANARY} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        text = server.wait_for("WORKER TIMEOUT")
        server.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")  # a new worker answers
        text = server.wait_for("Error handling request")
    assert CANARY not in text


@pytest.mark.slow
def test_no_header_says_where_the_program_is_mounted_and_there_is_no_control_socket(tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    with plain_server(tmp_path, XDG_RUNTIME_DIR=str(runtime)) as server:
        answer = server.send(
            b"GET /livez HTTP/1.1\r\nHost: a\r\nSCRIPT_NAME: /evil\r\nPATH_INFO: /evil\r\nConnection: close\r\n\r\n"
        )
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"SCRIPT_NAME": "", "PATH_INFO": "/livez"}
        assert [path for path in tmp_path.rglob("*") if path.is_socket()] == []
        assert list(runtime.iterdir()) == []
