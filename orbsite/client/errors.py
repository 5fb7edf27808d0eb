"""The errors of the client, in one tree.

ClientError
├── ServerUnreachable       no response came, after every retry
├── InvalidResponse         the response is not one of this API, or of a newer version of it
├── JobFailed               a job ended otherwise than with its work done
└── Problem                 the server answered with an error
    ├── InvalidRequest          400, 413, 415, 422: the request breaks a rule; `errors` has each invalid field
    ├── Unauthenticated         401
    ├── Forbidden               403
    ├── NotFound                404
    ├── Conflict                409: the request conflicts with stored data
    ├── Changed                 412: the stored version is not the expected one
    ├── TooManyRequests         429, after every retry
    └── Unavailable             500 and higher, after every retry
"""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

import msgspec


class ClientError(Exception):
    """The base of all errors of the client."""


class ServerUnreachable(ClientError):
    """No response came, after every retry. A request that writes may have been executed; sent again, it is safe."""


class InvalidResponse(ClientError):
    """The response is not one of this API: check the address, and whether the server is newer than this client."""


class JobFailed(ClientError):
    """A job failed or was cancelled, or is not done within the time to wait."""


class FieldError(NamedTuple):
    """An invalid field of a request: its JSON path, and what is wrong with it."""

    path: str
    message: str


class Problem(ClientError):
    """An error that the server answered (RFC 9457)."""

    def __init__(self, status: int, document: ProblemDocument, retry_after: float | None = None) -> None:
        self.status = status
        self.name = document.type.removeprefix("urn:orb:problem:")
        """The kind of the problem, such as `conflict`, or `about:blank` if the server is none of this API."""
        self.title, self.detail, self.instance = document.title, document.detail, document.instance
        self.errors = [FieldError(**one) for one in document.errors]
        self.retry_after = retry_after
        """The seconds after which the server allows another attempt, if it says so."""
        self.was_repeated = False
        """Whether the request was sent before, so that an earlier attempt may have been executed."""
        listed = "".join(f"; {path}: {message}" for path, message in self.errors)
        super().__init__(f"{status} {self.title}: {self.detail}{listed} ({self.instance})")


class InvalidRequest(Problem):
    """The request breaks a rule of the API; `errors` has the path and the message of each invalid field."""


class Unauthenticated(Problem):
    """The token is missing, wrong, revoked or expired."""


class Forbidden(Problem):
    """The token does not have the scope or the users that the request needs."""


class NotFound(Problem):
    """The record does not exist, or the token may not see it."""


class Conflict(Problem):
    """The request conflicts with stored data, such as an id that is taken. Nothing was written."""


class Changed(Problem):
    """The stored version is not the expected one. Nothing was written. Read it again, then retry."""


class TooManyRequests(Problem):
    """The token has made too many requests, or has reached its quota."""


class Unavailable(Problem):
    """The server or its store is unavailable; after the name `outcome-unknown`, a write may have been executed."""


class ProblemDocument(msgspec.Struct, frozen=True):
    """The body of an error response."""

    type: str = "about:blank"
    title: str = "The server answered with an error"
    detail: str = ""
    instance: str = ""
    errors: list[dict[str, str]] = []


_BY_STATUS: dict[int, type[Problem]] = {
    HTTPStatus.UNAUTHORIZED: Unauthenticated,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.PRECONDITION_FAILED: Changed,
    HTTPStatus.TOO_MANY_REQUESTS: TooManyRequests,
}


def problem_of(status: int, body: bytes, retry_after: float | None) -> Problem:
    """Return the error for a response with an error status."""
    try:
        document = msgspec.json.decode(body, type=ProblemDocument)
    except msgspec.DecodeError:  # a proxy answered
        document = ProblemDocument(detail=body[:200].decode("utf-8", "replace"))
    usual = Unavailable if status >= HTTPStatus.INTERNAL_SERVER_ERROR else InvalidRequest
    return _BY_STATUS.get(status, usual)(status, document, retry_after)
