"""Slow and hostile clients of the served API: they hold nothing that others need, and are given up in time."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.serving import Server, served

pytestmark = pytest.mark.slow
CLIENTS = 20
"""More than the server has threads."""
HEADER_SECONDS, BODY_SECONDS = 2, 1
PATIENCE = 60.0
ADDRESS = "/api/v1/users/ana/reflections"
HEAD = "Host: orb.example.org\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve as `make serve` does, with the threads that it has by default."""
    work = tmp_path_factory.mktemp("slow")
    limits = {"ORB_HEADER_TIMEOUT": str(HEADER_SECONDS), "ORB_BODY_TIMEOUT": str(BODY_SECONDS)}
    with served(work, f"sqlite:///{work}/orb.sqlite3", ORB_API_RATE="none", **limits) as one:
        yield one


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    return server.token("--scope", "write", "--every-user")


@contextlib.contextmanager
def hanging(server: Server, sent: bytes) -> Iterator[list[socket.socket]]:
    """Send the same half of a request on many connections, and leave them open."""
    with ExitStack() as stack:
        clients = []
        for _ in range(CLIENTS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
            client.sendall(sent)
            clients.append(client)
        time.sleep(0.5)  # so that every one of them is with the server
        yield clients


def posted(token: str, more: str, body: bytes = b"") -> bytes:
    return (
        f"POST {ADDRESS} HTTP/1.1\r\n{HEAD}Authorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\n{more}\r\n\r\n"
    ).encode() + body


def answer_of(client: socket.socket) -> bytes:
    """Return all that comes until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            received += data
    return received


def halves(token: str) -> dict[str, bytes]:
    return {
        "nothing at all": b"",
        "half a request line": b"GET /api/v1/us",
        "half a head": f"GET {ADDRESS} HTTP/1.1\r\n{HEAD}X-Long: a".encode(),
        "half a small body": posted(token, "Content-Length: 1000", b'{"input": "'),
        "half a body": posted(token, "Content-Length: 1000000", b'{"input": "'),
        "a body that was announced": posted(token, "Content-Length: 1000\r\nExpect: 100-continue"),
        "half a chunk": posted(token, "Transfer-Encoding: chunked", b'ffff\r\n{"input": "'),
        "health with half a body": f"GET /livez HTTP/1.1\r\n{HEAD}Content-Length: 100\r\n\r\n".encode(),
    }


@pytest.mark.parametrize("half", list(halves("")))
def test_health_answers_while_many_slow_clients_hang_and_they_are_given_up(
    server: Server, token: str, half: str
) -> None:
    with hanging(server, halves(token)[half]) as clients:
        waited = []
        for _ in range(5):
            began = time.monotonic()
            assert server.ask("GET", "/livez").status == 200
            waited.append(time.monotonic() - began)
        assert min(waited) < 1.0, waited
        assert max(waited) < PATIENCE / 4, waited
        listed = server.ask("GET", ADDRESS, token=token)
        assert listed.status == 200, listed
        answers = [answer_of(client) for client in clients]  # ends when the server has closed them
    kinds = {one.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").split(b"\r\n", 1)[0] for one in answers}
    assert kinds == {b"" if half == "nothing at all" else b"HTTP/1.1 408 Request Timeout"}


def test_a_client_that_sends_slowly_but_steadily_enough_is_answered(server: Server, token: str) -> None:
    body = json.dumps({"input": "x" * 200_000, "output": "y"}).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(posted(token, f"Content-Length: {len(body)}\r\nConnection: close"))
        for start in range(0, len(body), 10_000):
            client.sendall(body[start : start + 10_000])
            time.sleep(HEADER_SECONDS / 10)  # longer in all than either limit
        assert answer_of(client).startswith(b"HTTP/1.1 201 ")


def test_a_client_that_takes_nothing_of_its_answer_holds_no_thread_for_ever(server: Server, token: str) -> None:
    large = json.dumps({"id": "large", "input": "x" * 9_000_000, "output": "y"}).encode()
    assert server.ask("POST", ADDRESS, large, token).status == 201
    asked = f"GET {ADDRESS}/large HTTP/1.1\r\n{HEAD}Authorization: Bearer {token}\r\n\r\n".encode()
    with hanging(server, asked):
        began = time.monotonic()
        assert server.ask("GET", "/livez").status == 200
        assert time.monotonic() - began < HEADER_SECONDS
        assert server.ask("GET", f"{ADDRESS}?limit=1", token=token).status == 200


def test_requests_that_come_together_and_in_pieces_are_answered_each(server: Server, token: str) -> None:
    asked = f"GET {ADDRESS}?limit=1 HTTP/1.1\r\n{HEAD}Authorization: Bearer {token}\r\n\r\n".encode()
    last = asked.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    sent = asked + posted(token, "Content-Length: 2", b"{}") + asked + last
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(sent[:-20])
        time.sleep(1)
        client.sendall(sent[-20:])
        received = answer_of(client)
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b"HTTP/1.1 400 ") == 1


def test_a_head_that_is_too_large_is_refused_and_not_read_to_its_end(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(f"GET / HTTP/1.1\r\n{HEAD}".encode() + b"X-Part: abcdefgh\r\n" * 10_000)
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(b"GET /" + b"x" * 70_000)
        assert client.recv(100).startswith(b"HTTP/1.1 414 ")


def test_the_log_tells_nothing_of_slow_clients_as_if_it_were_an_error(server: Server) -> None:
    lines = [line for line in server.lines() if line["level"] in ("ERROR", "CRITICAL")]
    assert lines == []


def test_the_page_about_production_tells_the_limits_and_shows_a_proxy_that_buffers_and_fits_the_settings() -> None:
    text = (Path(__file__).parents[2] / "docs/how-to/production.md").read_text()
    for name in ("ORB_HEADER_TIMEOUT", "ORB_BODY_TIMEOUT", "ORB_THREADS"):
        assert f"`{name}`" in text
    proxy = text.partition("```nginx\n")[2].partition("```")[0]
    for line in ("proxy_request_buffering on;", "proxy_buffering on;", "X-Forwarded-Proto $scheme;", "Host $host;",
                 "X-Forwarded-For $remote_addr;", "ORB_PROXIES=1", "client_max_body_size 256m;"):  # fmt: skip
        assert line in proxy
    assert settings.ORB_MAX_UPLOAD_BYTES == 256 * 1024 * 1024
