"""Renders every error as `application/problem+json` (RFC 9457).

A resource raises an `OrbError` of a store, a `Problem` of its own, Django's Http404 or an exception of REST framework.
`handler` turns each of them into a response:

    raise Problem(BAD, errors=[("$.limit", "is a number from 1 to 100")])
    raise Problem(CONFLICT, "the profile exists already")
    raise Http404

A response has `type`, `title`, `status`, `detail`, `instance` (the request id, as in the log) and, for invalid fields,
`errors` with the `path` and `message` of each. Details for operators are logged and not sent to callers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions

from orbsite.runtime.json_logging import request_id
from orbsite.runtime.sqlite.errors import DatabaseMissing
from orbsite.storage import errors
from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.findings import Finding

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 100
"""The maximum number of invalid fields that one response lists."""
SECONDS_TO_WAIT = "2"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its status, the last part of its type, and its title."""

    status: int
    name: str
    title: str
    detail: str = ""
    """The default text, for errors whose own message callers may not see."""


BAD = Kind(400, "invalid", "The request is not valid", "The request breaks a rule of this API.")
UNAUTHENTICATED = Kind(401, "unauthenticated", "Credentials are needed", "Send a valid token: Authorization: Bearer …")
FORBIDDEN = Kind(403, "forbidden", "The token does not allow this", "The token lacks the scope of this request.")
MISSING = Kind(404, "not-found", "Not found", "No resource that this token may see has this address.")
METHOD = Kind(405, "method-not-allowed", "The method is not allowed here", "See the header Allow.")
UNACCEPTABLE = Kind(406, "not-acceptable", "No acceptable media type", "Accept application/json.")
TOO_SLOW = Kind(408, "timeout", "The body arrived too slowly", "Send it again, faster or in smaller parts.")
CONFLICT = Kind(409, "conflict", "The request conflicts with stored data", "Read the record again, then retry.")
BUSY = Kind(409, "run-under-way", "A run is in progress", "Nothing was erased; try again when the run has ended.")
OWNED = Kind(409, "owner-conflict", "The id is taken", "The id belongs to another user; choose another one.")
UNREADABLE = Kind(409, "unreadable", "The stored record cannot be read", "The item under this key cannot be decoded.")
LENGTH = Kind(411, "length-required", "A length is needed", "Send the body with a Content-Length.")
CHANGED = Kind(
    412, "precondition-failed", "The precondition failed", "Read the record again, then retry with its ETag."
)
TOO_LARGE = Kind(413, "too-large", "The body is too large", "Send less at once.")
MEDIA = Kind(415, "unsupported-media-type", "The media type is not supported", "Send application/json in UTF-8.")
REUSED = Kind(422, "key-reused", "The Idempotency-Key was used before", "It came with another body; choose a new key.")
UNCONDITIONAL = Kind(428, "precondition-required", "A condition is needed", "Send If-Match with the ETag you read.")
TOO_MANY = Kind(429, "too-many-requests", "Too many requests", "Wait as long as Retry-After says.")
QUOTA = Kind(429, "quota-exceeded", "The quota of the token is used up", "Wait as long as Retry-After says.")
FAILED = Kind(500, "internal", "Internal error", "The log has the details, under the instance of this response.")
UNAVAILABLE = Kind(503, "unavailable", "The store is unavailable", "Nothing was written; retry later.")
UNUSABLE = Kind(503, "store-damaged", "The store is damaged", "Nothing was written; an operator has to repair it.")
UNKNOWN = Kind(503, "outcome-unknown", "The outcome is unknown", "The data may have been saved. Read it, then retry.")

_OF_ERRORS: tuple[tuple[type[Exception], Kind], ...] = (  # the most specific first
    (errors.InvalidRecord, BAD),
    (errors.OwnerConflict, OWNED),
    (errors.Conflict, CONFLICT),
    (errors.RecordUnreadable, UNREADABLE),
    (errors.StoreUnavailable, UNAVAILABLE),
    (errors.DocumentError, UNUSABLE),
    (errors.SaveOutcomeUnknown, UNKNOWN),
    (errors.SaveFailed, UNAVAILABLE),
    (errors.TooMuch, CONFLICT),
    (errors.RunUnderWay, BUSY),
    (errors.QuotaExceeded, QUOTA),
    (errors.ClockJumped, CONFLICT),
    (errors.OrbError, BAD),
    (Http404, MISSING),
    (PermissionDenied, FORBIDDEN),
    (RequestDataTooBig, TOO_LARGE),
    (SuspiciousOperation, BAD),
    (DatabaseError, UNAVAILABLE),
)
_OF_STATUS = {
    one.status: one
    for one in (BAD, UNAUTHENTICATED, FORBIDDEN, MISSING, METHOD, UNACCEPTABLE, CONFLICT, TOO_LARGE, MEDIA, TOO_MANY)
}
TITLES = {
    one.status: one.title
    for one in (*_OF_STATUS.values(), TOO_SLOW, LENGTH, CHANGED, REUSED, UNCONDITIONAL, UNAVAILABLE)
}
"""The description of each status in the OpenAPI document; Python's own phrases change from version to version."""
_PUBLIC = (
    errors.TooMuch,
    errors.RunUnderWay,
    errors.QuotaExceeded,
    errors.ClockJumped,
    errors.RecordUnreadable,
    errors.InvalidPolicy,
)
"""Errors whose messages are sent to the caller. Other errors send the text of their kind only."""


class Problem(Exception):
    """An error for the caller. `errors` are findings, or pairs of path and message."""

    def __init__(
        self,
        kind: Kind,
        detail: str = "",
        *,
        errors: Iterable[Finding | tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        number_of_errors: int | None = None,
    ) -> None:
        self.kind, self.detail, self.headers = kind, detail or kind.detail, dict(headers or {})
        pairs = [(one.path, one.message) if isinstance(one, Finding) else one for one in errors]
        self.errors = pairs[:MOST_ERRORS]
        self.number_of_errors = len(pairs) if number_of_errors is None else number_of_errors
        if self.number_of_errors > len(self.errors):
            self.detail += f" The first {len(self.errors)} of {self.number_of_errors} errors are listed."
        super().__init__(self.detail)

    def as_json(self) -> dict[str, Any]:
        """Return the body of the response."""
        body: dict[str, Any] = {
            "type": f"urn:orb:problem:{self.kind.name}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": f"urn:uuid:{request_id.get()}",
        }
        if self.errors:
            body["errors"] = [{"path": path, "message": message} for path, message in self.errors]
        return body

    def response(self) -> HttpResponse:
        """Return the HTTP response, with `Retry-After` for 503."""
        answer = HttpResponse(compact(self.as_json()), content_type=MEDIA_TYPE, status=self.kind.status)
        for name, value in self.headers.items():
            answer[name] = value
        if self.kind.status == HTTPStatus.SERVICE_UNAVAILABLE:
            answer.setdefault("Retry-After", SECONDS_TO_WAIT)
        return answer


def handler(problem: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Return the response to an error, for REST framework, or None for an unexpected error."""
    translated = problem_of(problem, context["request"])
    if translated is None:
        return None
    if translated.kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log(problem, translated.kind)
    return translated.response()


def problem_of(problem: Exception, request: Any = None) -> Problem | None:
    """Return the Problem that describes an error to the caller, or None for an unexpected error."""
    if isinstance(problem, Problem):
        return problem
    if isinstance(problem, exceptions.APIException):
        return _of_framework(problem)
    kind = next((kind for error, kind in _OF_ERRORS if isinstance(problem, error)), None)
    if kind is None:
        return None
    if kind is CONFLICT and request is not None and request.headers.get("If-Match"):
        kind = CHANGED
    if isinstance(problem, errors.InvalidRecord):
        return Problem(kind, errors=problem.findings)
    headers = {"Retry-After": str(problem.retry_after)} if isinstance(problem, errors.QuotaExceeded) else {}
    return Problem(kind, str(problem) if _is_public(problem) else "", headers=headers)


def failed(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 -- Django's signature
    """Return the response to an unexpected error, whose details are in the log."""
    return Problem(FAILED).response()


def _of_framework(problem: exceptions.APIException) -> Problem:
    kind = _OF_STATUS.get(problem.status_code, FAILED)
    headers = {}
    if header := getattr(problem, "auth_header", None):
        headers["WWW-Authenticate"] = header
    if (wait := getattr(problem, "wait", None)) is not None:
        headers["Retry-After"] = str(max(1, int(wait)))
    return Problem(kind, headers=headers)


def _is_public(problem: Exception) -> bool:
    return isinstance(problem, _PUBLIC) or type(problem) is errors.OrbError


def _log(problem: Exception, kind: Kind) -> None:
    if isinstance(problem, DatabaseMissing):
        logger.error("%s: %s", kind.name, problem)
        return
    cause = problem.__cause__ or problem.__context__
    reason = str(problem) if isinstance(problem, errors.OrbError) and cause is None else type(cause or problem).__name__
    logger.error("%s: %s (%s)", kind.name, type(problem).__name__, reason)
