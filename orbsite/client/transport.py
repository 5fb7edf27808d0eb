"""Sends requests over HTTP with the standard library, and repeats those that failed, with growing pauses.

Every request here can be repeated: reads, replacements and deletions by their meaning, creations by their
`Idempotency-Key`. Connections are kept open and shared by threads. Redirects are not followed, because the token must
not reach another host.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from threading import Lock
from urllib.parse import urljoin, urlsplit

from orbsite.client.errors import InvalidResponse, Problem, ServerUnreachable, problem_of
from orbsite.client.position import HEADER as POSITION
from orbsite.client.position import Position

_MAY_PASS = frozenset({408, 429, 502, 503, 504})
"""The statuses of errors that may be gone at the next attempt."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_MOST_IDLE = 8
"""How many connections are kept open for the next requests."""
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """A response without an error."""

    status: int
    headers: Mapping[str, str]
    """The headers, by name in lower case."""
    body: bytes
    was_repeated: bool = False
    """Whether an earlier attempt may have been executed."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is repeated, and how long to wait in between."""

    number: int = 4
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[float, float], float] = random.uniform

    def wait(self, attempt: int, at_least: float | None) -> None:
        """Wait before the next attempt: a random part of a time that doubles, and at least what the server asks."""
        longest = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
        self.sleep(max(self.draw(longest / 2, longest), at_least or 0.0))


class Transport:
    """Sends requests to one server."""

    def __init__(
        self, url: str, token: str, *, timeout: float, retries: Retries, context: ssl.SSLContext | None
    ) -> None:
        """Prepare requests to an address such as https://orb.example.org. Raises ValueError if it is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address; write it as https://orb.example.org or http://127.0.0.1:8000")
        self._base = f"{url.rstrip('/')}/"
        self._token, self._timeout, self._retries = token, timeout, retries
        self._context = context or (ssl.create_default_context() if parts.scheme == "https" else None)
        self._position = Position()
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = Lock()

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str | None) -> Response:
        """Send a request, repeat it where that may help, and return the response. Raises Problem and ServerUnreachable.

        `path` is relative to the server's address, or absolute as in its responses. Header names have `_` for `-`.
        """
        wanted = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        for attempt in range(self._retries.number + 1):
            is_last = attempt == self._retries.number
            try:
                response = self._once(method, path, body, wanted)
                return Response(response.status, response.headers, response.body, was_repeated=attempt > 0)
            except Problem as problem:
                problem.was_repeated = attempt > 0
                if is_last or problem.status not in _MAY_PASS:
                    raise
                wait = problem.retry_after
            except (OSError, http.client.HTTPException) as problem:
                if is_last:
                    raise ServerUnreachable(f"{method} {self._base}: {type(problem).__name__}: {problem}") from problem
                wait = None
            self._retries.wait(attempt, wait)
        raise ServerUnreachable(f"{method} {self._base}: no attempt was allowed")

    @contextlib.contextmanager
    def stream(self, path: str, **headers: str) -> Iterator[Iterator[bytes]]:
        """Yield the lines of a response that may be large. It is not repeated."""
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = self._connect()
        try:
            response = self._begin(connection, "GET", path, None, wanted)
            self._refuse_errors(response)
            yield _lines(response)
        except (OSError, http.client.HTTPException) as problem:
            raise ServerUnreachable(f"GET {self._base}: {type(problem).__name__}: {problem}") from problem
        finally:
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Response:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        mark, reached = self._position.current()
        headers = headers if reached is None else {POSITION: reached, **headers}
        try:
            response = self._begin(connection, method, path, body, headers)
            self._refuse_errors(response)
            found = {name.lower(): value for name, value in response.getheaders()}
            answer = Response(response.status, found, response.read())
        except BaseException as problem:
            if method != "GET":
                self._position.forget()
            if not (isinstance(problem, Problem) and self._keep(connection)):
                connection.close()
            raise
        if response.will_close or not self._keep(connection):
            connection.close()
        self._note_position(mark, method, answer)
        return answer

    def _note_position(self, mark: int, method: str, answer: Response) -> None:
        told = answer.headers.get(POSITION.lower())
        if told is not None:
            self._position.learn(mark, told)
        elif method != "GET":
            self._position.forget()

    def _begin(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        target = urlsplit(urljoin(self._base, path))
        query = f"?{target.query}" if target.query else ""
        sent = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        sent |= {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, f"{target.path}{query}", body, {**sent, **headers})
        return connection.getresponse()

    def _refuse_errors(self, response: http.client.HTTPResponse) -> None:
        if response.status < HTTPStatus.MULTIPLE_CHOICES or response.status == HTTPStatus.NOT_MODIFIED:
            return
        body = response.read()
        if response.status < HTTPStatus.BAD_REQUEST:
            raise InvalidResponse(f"{self._base} redirects to {response.headers.get('Location')}; use that address")
        raise problem_of(response.status, body, _seconds(response.headers.get("Retry-After")))

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._base)
        host = str(parts.hostname)
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, parts.port, timeout=self._timeout, context=self._context)
        return http.client.HTTPConnection(host, parts.port, timeout=self._timeout)

    def _keep(self, connection: http.client.HTTPConnection) -> bool:
        """Keep a connection for the next request, if it is still open and there are not too many."""
        with self._lock:
            if connection.sock is None or len(self._idle) >= _MOST_IDLE:
                return False
            self._idle.append(connection)
            return True


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdecimal() else None


def _lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    before = b""
    while piece := response.read1(_PIECE):
        *lines, before = (before + piece).split(b"\n")
        yield from lines
    if before:
        yield before
