"""Bodies as servers hand them over: who may send one is asked before it is read, and chunks are read or refused."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.serving import ROOT, Server, make_tables, production, served, static_files

pytestmark = pytest.mark.slow
PATIENCE = 60.0
REFLECTIONS = "/api/v1/users/ana/reflections"
IMPORT = "/admin/console/operations/import/"
HOST = "Host: orb.example.org\r\nX-Forwarded-Proto: https\r\nReferer: https://orb.example.org/\r\n"
LARGE = 99 * 1024 * 1024
BEGINNING = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.db"\r\n\r\n'.ljust(32 * 1024, b"x")
JSON = "Content-Type: application/json"
FORM = "Content-Type: multipart/form-data; boundary=x"
SIGN_IN = """
from django.contrib.auth.models import User
from django.test import Client
client = Client(headers={"host": "orb.example.org"})
user = User.objects.filter(username="root").first() or User.objects.create_superuser("root")
client.force_login(user)
page = client.get("/admin/console/operations/import/", secure=True)
ticket = page.content.decode().partition("?ticket=")[2].partition('"')[0]
print(client.cookies["sessionid"].value, ticket, page.cookies["csrftoken"].value)
"""


@contextlib.contextmanager
def developed(work: Path, address: str, **more: str) -> Iterator[Server]:
    """Serve as `make run` does."""
    environment = production(work, DATABASE_URL=address, **more) | {"DEBUG": "true"}
    make_tables(address, work)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = work / "server.log"
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + PATIENCE
            while not is_listening(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield Server(port, log, environment)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=["gunicorn", "runserver"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    work = tmp_path_factory.mktemp(request.param)
    (work / "tmp").mkdir()
    serve = served if request.param == "gunicorn" else developed
    more = {"ORB_STATIC_ROOT": static_files(work), "TMPDIR": str(work / "tmp"), "ORB_API_RATE": "none"}
    with serve(work, f"sqlite:///{work}/orb.sqlite3", **more) as one:
        yield one


@pytest.fixture(scope="module")
def token(server: Server) -> str:
    return server.token("--scope", "write", "--user", "ana")


@pytest.fixture(scope="module")
def reader(server: Server) -> str:
    return server.token("--scope", "read", "--user", "ana")


@pytest.fixture(scope="module")
def session(server: Server) -> tuple[str, str, str]:
    """The session of somebody who may import, a ticket for it, and the secret of its forms."""
    said = server.manage("shell", "-v", "0", "-c", SIGN_IN).split()
    return said[0], said[1], said[2]


def asked(server: Server, method: str, path: str, headers: list[str], body: bytes = b"") -> tuple[int, bytes]:
    """Send a request, or its beginning, and return status and body of the answer."""
    head = f"{method} {path} HTTP/1.1\r\n{HOST}" + "".join(f"{one}\r\n" for one in headers) + "\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
        client.sendall(head.encode() + body)
        received = b""
        while (match := re.match(rb"HTTP/1\.1 (\d{3}).*?\r\n\r\n", received, re.DOTALL)) is None or not _is_whole(
            received
        ):
            data = client.recv(65536)
            if not data:
                break
            received += data
    assert match is not None, received
    return int(match[1]), received.partition(b"\r\n\r\n")[2]


def _is_whole(received: bytes) -> bool:
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(body) if length is None else len(body) >= int(length[1])


def spooled(server: Server) -> list[str]:
    return [one.name for one in Path(server.environment["TMPDIR"]).rglob("*.upload*")]


@pytest.mark.parametrize(
    "path", [IMPORT, "/admin/console/operations/migrate/", "/admin/login/", "/admin/", "/api/schema", "/api/docs"]
)
def test_a_made_up_session_is_refused_before_the_body_is_read(server: Server, path: str) -> None:
    cookie = f"Cookie: sessionid={'a' * 32}; csrftoken={'b' * 32}"
    for headers in ([], [cookie], [cookie, f"X-CSRFToken: {'b' * 32}"]):
        status, _ = asked(server, "POST", path, [FORM, f"Content-Length: {LARGE}", *headers], BEGINNING)
        assert status in (403, 413), (headers, status)
        assert spooled(server) == []
    assert asked(server, "POST", IMPORT, [FORM, f"Content-Length: {LARGE}", cookie], BEGINNING)[0] == 403


def test_a_forged_upload_is_refused_before_it_is_read(server: Server, session: tuple[str, str, str]) -> None:
    mine, ticket, secret = session
    cookie = f"Cookie: sessionid={mine}; csrftoken={secret}"
    forged = [IMPORT, f"{IMPORT}?ticket=", f"{IMPORT}?ticket=made:up", f"{IMPORT}?ticket={ticket[:-3]}xxx"]
    for path, more in [*((path, []) for path in forged), (IMPORT, [f"X-CSRFToken: {'b' * 32}"])]:
        sent = [FORM, f"Content-Length: {LARGE}", cookie, *more]
        assert asked(server, "POST", path, sent, BEGINNING)[0] == 403, path
        assert spooled(server) == []
    other = f"Cookie: sessionid={'c' * 32}; csrftoken={secret}"
    assert (
        asked(server, "POST", f"{IMPORT}?ticket={ticket}", [FORM, f"Content-Length: {LARGE}", other], BEGINNING)[0]
        == 403
    )


@pytest.mark.parametrize("by", ["ticket", "header"])
def test_an_upload_of_a_form_that_came_from_here_is_taken(
    server: Server, session: tuple[str, str, str], by: str
) -> None:
    mine, ticket, secret = session
    field = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    body = field % (b"csrfmiddlewaretoken", b"", secret.encode()) + field % (b"only", b"", b"luna")
    body += field % (b"file", b'; filename="orb.db"', b"x" * 3_000_000) + b"--x--\r\n"
    path, more = (f"{IMPORT}?ticket={ticket}", []) if by == "ticket" else (IMPORT, [f"X-CSRFToken: {secret}"])
    headers = [FORM, f"Content-Length: {len(body)}", f"Cookie: sessionid={mine}; csrftoken={secret}", *more]
    status, told = asked(server, "POST", path, headers, body)
    assert status == 302, told
    kept = Path(server.environment["ORB_BACKUP_DIR"]) / "uploads"
    assert any(one.stat().st_size == 3_000_000 for one in kept.iterdir())


def test_a_token_is_asked_for_before_the_body_is_read(server: Server, token: str, reader: str) -> None:
    length = f"Content-Length: {9 * 1024 * 1024}"
    for path, headers, status in (
        (REFLECTIONS, [JSON], 401),
        (REFLECTIONS, [JSON, "Authorization: Bearer orb_made_up"], 401),
        (REFLECTIONS, [JSON, f"Authorization: Bearer {reader}"], 403),
        ("/api/v1/users/bo/reflections", [JSON, f"Authorization: Bearer {token}"], 404),
        (REFLECTIONS, ["Content-Type: text/plain", f"Authorization: Bearer {token}"], 415),
        ("/metrics", [JSON], 405),
    ):
        assert asked(server, "POST", path, [length, *headers], b'{"input": "')[0] == status, (path, headers)
    too_large = [f"Content-Length: {LARGE}", JSON, f"Authorization: Bearer {token}"]
    assert asked(server, "POST", REFLECTIONS, too_large, b'{"input": "')[0] == 413


def in_chunks(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in parts) + b"0\r\n\r\n"


def is_gunicorn(server: Server) -> bool:
    return server.environment["DEBUG"] == "false"


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_body_in_chunks_is_read_or_a_length_is_asked_for(server: Server, token: str, size: int) -> None:
    headers = ["Transfer-Encoding: chunked", JSON, f"Authorization: Bearer {token}"]
    body = json.dumps({"id": f"chunked-{size}", "input": "x" * size * 3, "output": "b"}).encode()
    status, told = asked(server, "POST", REFLECTIONS, headers, in_chunks(body, size))
    if is_gunicorn(server):
        assert (status, json.loads(told)["input"]) == (201, "x" * size * 3)
    else:
        assert (status, json.loads(told)["type"]) == (411, "urn:orb:problem:length-required")


def test_a_body_in_chunks_has_the_limits_of_others(server: Server, token: str) -> None:
    headers = ["Transfer-Encoding: chunked", JSON, f"Authorization: Bearer {token}"]
    if is_gunicorn(server):
        body = b'{"input": "%b", "output": ""}' % (b"x" * 10 * 1024 * 1024)
        assert asked(server, "POST", REFLECTIONS, headers, in_chunks(body, 1 << 20))[0] == 413
        assert asked(server, "POST", REFLECTIONS, headers, in_chunks(b'{"input": 5}', 3))[0] == 400
        assert asked(server, "POST", REFLECTIONS, headers, b"0\r\n\r\n")[0] == 400
        assert asked(server, "POST", REFLECTIONS, headers, b"zz\r\n{}\r\n0\r\n\r\n")[0] == 400
        assert (
            asked(server, "POST", REFLECTIONS, [headers[0], "Content-Type: text/plain", headers[2]], b"0\r\n\r\n")[0]
            == 415
        )
        assert asked(server, "POST", REFLECTIONS, headers[:2], b"5\r\n")[0] == 401
    assert asked(server, "POST", "/admin/login/", [headers[0], FORM], b"5\r\n")[0] == 411


def test_a_body_with_a_length_and_chunks_is_refused(server: Server, token: str) -> None:
    """What two programs on the way understand differently lets one request hide another."""
    if not is_gunicorn(server):
        pytest.skip("the server for development stands behind no other one")
    inner = f"GET /livez HTTP/1.1\r\n{HOST}\r\n"
    for first, second in (
        ("Content-Length: 6", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 6"),
    ):
        headers = [first, second, JSON, f"Authorization: Bearer {token}"]
        status, told = asked(server, "POST", REFLECTIONS, headers, b"0\r\n\r\n" + inner.encode())
        assert status == 400
        assert b"live" not in told
