"""The gunicorn worker: slow clients block no thread, and health checks respond while all threads are busy.

- The event loop receives the head of a request and a small body; a thread takes over once both are complete. An
  incomplete request is answered 408 after a timeout, a head that is too large 431.
- A separate thread pool receives large bodies, so that other requests do not wait for them. A thread that receives a
  body or sends a response disconnects the client if it is too slow (`ClientSocket`).
- `/livez` and `/readyz` have one thread each.
- The event loop closes connections without blocking: it reads and drops what the client still sends for a short time,
  so that the response arrives.
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_SECONDS = float(os.environ.get("ORB_HEADER_TIMEOUT") or 10)
"""The timeout in seconds for the head of a request and a small body."""
SLOW_SECONDS = float(os.environ.get("ORB_BODY_TIMEOUT") or 20)
"""The total seconds of waiting for a client that sends a body or reads a response slower than SLOWEST."""
SLOWEST = 4096
"""The minimum transfer rate in bytes per second."""
LARGEST_HEAD = SMALL_BODY = 64 * 1024
LINGER_SECONDS = 2.0
_LINGER_BYTES = 256 * 1024
_PIECE = 64 * 1024
_DRAIN_SECONDS = 0.05
_END_OF_HEAD = b"\r\n\r\n"
_HEALTH = re.compile(rb"(?:GET|HEAD) (/livez|/readyz)(?:\?[^ ]*)? HTTP/")
_LENGTH = re.compile(rb"\r\nContent-Length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_HAS_LATER_BODY = re.compile(rb"\r\n(?:Transfer-Encoding|Expect):", re.IGNORECASE)
_TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class TooSlow(NoMoreData, TimeoutError):  # type: ignore[misc]
    """The client sends its body too slowly."""


class MalformedBody(OSError):
    """The body has invalid HTTP framing."""


class ClientSocket(socket.socket):
    """A connection with a waiting budget of SLOW_SECONDS, which each transferred byte refills at the rate SLOWEST."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(fileno=accepted.detach())
        self._seconds_left = SLOW_SECONDS

    def renew(self) -> None:
        """Reset the waiting budget, for the next request."""
        self._seconds_left = SLOW_SECONDS

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Return the received bytes. Raises TooSlow, and TimeoutError if a shorter timeout of the caller has ended."""
        if self.gettimeout() == 0:
            return super().recv(size, flags)
        try:
            data: bytes = self._timed(partial(super().recv, size, flags))
        except TimeoutError as problem:
            if self._seconds_left <= 0:
                raise TooSlow from problem
            raise
        self._credit(len(data))
        return data

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all data. Raises BrokenPipeError if the client reads too slowly."""
        rest = memoryview(data)
        while rest:
            try:
                sent = self._timed(partial(super().send, rest[:_PIECE], flags))
            except TimeoutError as problem:
                raise BrokenPipeError(errno.EPIPE, "the client reads the response too slowly") from problem
            self._credit(sent)
            rest = rest[sent:]

    def _timed(self, act: Callable[[], Any]) -> Any:
        timeout = self.gettimeout()
        began = time.monotonic()
        self.settimeout(
            max(self._seconds_left, 0.001) if timeout is None else min(timeout, max(self._seconds_left, 0.001))
        )
        try:
            return act()
        finally:
            self._seconds_left -= time.monotonic() - began
            self.settimeout(timeout)

    def _credit(self, number: int) -> None:
        self._seconds_left = min(self._seconds_left + number / SLOWEST, SLOW_SECONDS)


class Connection(TConn):  # type: ignore[misc]
    """A connection, with the received part of its next request."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.head = bytearray()
        self.wanted: int | None = None
        """The number of bytes to receive, known once the head is complete: the head, and the body if it is small."""
        self.has_later_body = False
        self.dropped = 0

    def is_complete(self) -> bool:
        """Tell whether the request is complete, so that a thread can handle it."""
        if self.wanted is None:
            end = self.head.find(_END_OF_HEAD)
            if end < 0:
                return False
            self._parse_head(end + len(_END_OF_HEAD))
        return self.wanted is not None and len(self.head) >= self.wanted

    def _parse_head(self, end: int) -> None:
        match = _LENGTH.search(self.head, 0, end)
        length = 0 if match is None else int(match[1])
        self.has_later_body = length > SMALL_BODY or _HAS_LATER_BODY.search(self.head, 0, end) is not None
        self.wanted = end if self.has_later_body else end + length

    def take_over(self) -> None:
        """Pass the received bytes to the parser, in the thread that handles the request."""
        self.data_ready = True
        self.sock.setblocking(True)
        self.sock.renew()
        self.init()
        self.parser.unreader.unread(bytes(self.head))
        self.head, self.wanted = bytearray(), None


class _CheckedReader:
    """Reads a body. Raises MalformedBody, an OSError like all other errors of a body, for malformed chunks."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._reader.read(size)
        except ParseException as problem:
            raise MalformedBody("the chunks of the body are malformed") from problem
        return data


class Worker(ThreadWorker):  # type: ignore[misc]
    """A gthread worker that receives requests in its event loop, with separate threads for health and large bodies."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._waiting: dict[Connection, float] = {}
        """The deadlines of connections whose request is incomplete, in order: the first expires first."""
        self._ending: dict[Connection, float] = {}
        self._bodies: Any = None
        self._health: dict[bytes, ThreadPoolExecutor] = {}
        self._is_plain = not self.cfg.is_ssl and self.cfg.protocol == "http" and self.cfg.http2_cleartext == "off"
        """Whether connections start with an HTTP/1 head. Gunicorn's own code handles all others."""

    def init_process(self) -> None:
        """Create the thread pools before the worker starts."""
        self._bodies = self.get_thread_pool()
        self._health = {path: ThreadPoolExecutor(1) for path in (b"/livez", b"/readyz")}
        super().init_process()

    def accept(self, listener: Any) -> None:
        """Accept a connection. At the limit, the connection that has waited longest is closed."""
        try:
            accepted, address = listener.accept()
        except OSError as problem:
            if problem.errno in (errno.EMFILE, errno.ENFILE):
                self._make_room()
            elif problem.errno not in (
                errno.EAGAIN,
                errno.ECONNABORTED,
            ):  # accepted elsewhere, or closed
                raise
            return
        self.nr_conns += 1
        connection = Connection(self.cfg, ClientSocket(accepted), address, listener.getsockname())
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        self.enqueue_req(connection)

    def enqueue_req(self, conn: Connection) -> None:
        """Submit a complete request to a thread, and wait for the rest of an incomplete one."""
        if conn.parser is not None:
            conn.head += conn.parser.unreader.take_buffered()
        if not self._is_plain:
            self._submit(conn)
        else:
            conn.sock.setblocking(False)
            self._waiting[conn] = time.monotonic() + HEAD_SECONDS
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))
            self._receive(conn, conn.sock)

    def _receive(self, conn: Connection, client: Any) -> None:
        """Receive available bytes of a head or a small body."""
        if conn not in self._waiting:  # the connection was closed after this event was queued
            return
        while not conn.is_complete() and (conn.wanted is not None or len(conn.head) <= LARGEST_HEAD):
            try:
                data = client.recv(_PIECE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._stop_waiting(conn)
                self._close(conn)
                return
            conn.head += data
        self._stop_waiting(conn)
        if conn.wanted is not None or self._is_long_line(conn):
            self._submit(conn)
        else:
            self._refuse(conn, _TOO_LARGE)

    def _is_long_line(self, conn: Connection) -> bool:
        """Tell whether the request line is so long that the parser refuses it."""
        return b"\r\n" not in conn.head[: self.cfg.limit_request_line + 2]

    def _submit(self, conn: Connection) -> None:
        future = self._pool_of(conn).submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _pool_of(self, conn: Connection) -> Any:
        if conn.has_later_body:
            return self._bodies
        match = _HEALTH.match(conn.head)
        return self.tpool if match is None else self._health[match[1]]

    def handle(self, conn: Connection) -> Any:
        """Parse and handle a complete request, in a thread."""
        try:
            if self._is_plain:
                conn.take_over()
        except OSError:
            return False
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """Handle a parsed request, with a body reader that raises OSError for malformed chunks."""
        req.body.reader = _CheckedReader(req.body.reader)
        return super().handle_request(req, conn)

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Tell whether the connection can be reused: the rest of the body must be available already."""
        return bool(keepalive and conn.parser.finish_body(deadline=time.monotonic() + _DRAIN_SECONDS))

    def finish_request(self, conn: Connection, fs: Future[Any]) -> None:
        """Keep or close the connection after a request, in the event loop."""
        if fs.cancelled() or fs.exception() is not None or not fs.result():
            self._end(conn)
        else:
            super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """Close connections whose deadline has passed. The event loop calls this at least once a second."""
        super().murder_pending()
        for conn in self._due(self._waiting):
            self._stop_waiting(conn)
            if conn.head:
                self._refuse(conn, _TOO_LATE)
            else:
                self._close(conn)
        for conn in self._due(self._ending):
            self._stop_ending(conn)

    def _due(self, connections: dict[Connection, float]) -> list[Connection]:
        """Return the connections whose deadline has passed. A stopping worker waits only LINGER_SECONDS for a head."""
        now = time.monotonic()
        if not self.alive and connections is self._waiting:
            now += HEAD_SECONDS - LINGER_SECONDS
        return [conn for conn, moment in connections.items() if moment <= now]

    def _make_room(self) -> None:
        if self._waiting:
            conn = next(iter(self._waiting))
            self._stop_waiting(conn)
            self._close(conn)
        elif self._ending:
            self._stop_ending(next(iter(self._ending)))

    def _refuse(self, conn: Connection, answer: bytes) -> None:
        try:
            conn.sock.send(answer)
        except OSError:
            self._close(conn)
        else:
            self._end(conn)

    def _end(self, conn: Connection) -> None:
        """Shut down sending, and drop what the client still sends for LINGER_SECONDS."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drop, conn))
        except (OSError, KeyError, ValueError):
            self._close(conn)
        else:
            self._ending[conn] = time.monotonic() + LINGER_SECONDS

    def _drop(self, conn: Connection, client: Any) -> None:
        if conn not in self._ending:
            return
        try:
            data = client.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        conn.dropped += len(data)
        if not data or conn.dropped > _LINGER_BYTES:
            self._stop_ending(conn)

    def _stop_waiting(self, conn: Connection) -> None:
        del self._waiting[conn]
        self.poller.unregister(conn.sock)

    def _stop_ending(self, conn: Connection) -> None:
        del self._ending[conn]
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()
