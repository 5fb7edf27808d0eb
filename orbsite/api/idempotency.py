"""`Idempotency-Key`: a creation that a client sends again with the same key is executed once.

A resource that creates records wraps the creation:

    def post(self, request: Request, user: str) -> Any:
        return once(self, lambda attempt: self._create(attempt, user), can_replay=True)

`attempt.moment` is the time of the first request with the key, and `attempt.new_id(0)` an id that is the same in every
attempt: a creation that a crash interrupted is repeated with both and creates the same record. Without the header they
are the current time and a random id. Requests with the same key and body get the same response, also if they arrive
concurrently: one is executed, the others wait for its response. The same key with another body or address is answered
422. Client errors (4xx) are not stored, so that the client can correct the request under the same key.

Small responses are stored in full. For a large response, only digest, status and headers are stored if `act` can
rebuild the body from the request: with `attempt.is_replay` it returns the first response again and neither reads nor
writes a record. The response therefore stays the same after later changes to the record.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from django.db import Error, IntegrityError
from django.http import HttpResponse
from rest_framework.response import Response

from orbsite.api.problems import BAD, CONFLICT, REUSED, Problem, problem_of
from orbsite.models.idempotency import KEPT, Answer
from orbsite.storage.clock import utc_now
from orbsite.storage.encoding.json_printer import canonical
from orbsite.storage.errors import OrbError
from orbsite.storage.sql.filters import can_be_stored
from orbsite.storage.sql.retry import TransactionRetry

logger = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
LONGEST = timedelta(seconds=60)
"""The time after which a claim expires, because its worker must have died."""
PATIENCE = 30.0
"""The number of seconds for which a request waits for the response to an equal request."""
SMALL = 64 * 1024
"""The maximum size in bytes of a response that is stored in full."""
_PAUSE = 0.05
_MAX_KEY_LENGTH = 255
_KEPT_HEADERS = ("Content-Type", "ETag", "Location")


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """One attempt to execute a creation."""

    moment: datetime
    """The time of the first request with this key."""
    _seed: str | None = None
    is_replay: bool = False
    """Whether the creation was executed before, and only its response is needed."""

    def new_id(self, number: int) -> str:
        """Return the id for the record at an index of the request. It is the same in each attempt."""
        return str(uuid4() if self._seed is None else uuid5(NAMESPACE_URL, f"{self._seed}#{number}"))


def once(
    view: Any,
    act: Callable[[IdempotentRequest], Any],
    now: Callable[[], datetime] = utc_now,
    *,
    can_replay: bool = False,
) -> Any:
    """Execute `act` once for each key of a token, and return its response. Raises Problem.

    `can_replay` says that `act` can rebuild its response from the request and the attempt alone.
    """
    request = view.request
    key = request.headers.get(HEADER)
    if key is None:
        return act(IdempotentRequest(now()))
    if not 0 < len(key) <= _MAX_KEY_LENGTH or not key.isprintable() or not key.isascii():
        raise Problem(BAD, errors=[(HEADER, f"is 1 to {_MAX_KEY_LENGTH} printable characters of ASCII")])
    text = canonical([request.method, request.path, view.body()])
    user = view.kwargs.get("user", "")  # an id that no store accepts has no records
    about = {"request": sha256(text).hexdigest(), "user_id": user if can_be_stored(user) else ""}
    ours = _claimed(request.auth, key, about, now)
    if ours.body_digest:
        return _replayed(view, ours, act)
    if ours.status is not None:
        return _replay(ours, _body(ours))
    return _executed(view, ours, act, can_replay=can_replay)


def _claimed(token: Any, key: str, about: dict[str, str], now: Callable[[], datetime]) -> Answer:
    """Return the stored response for a key, or the claim of this request to execute the creation."""
    deadline = time.monotonic() + PATIENCE
    while True:
        row, is_ours = _find_or_claim(token, key, about, now())
        if row.request != about["request"]:
            raise Problem(REUSED)
        if is_ours or row.status is not None:
            return row
        if time.monotonic() > deadline:
            raise Problem(
                CONFLICT,
                "The same request is still in progress. Retry after the time in Retry-After.",
                headers={"Retry-After": "5"},
            )
        time.sleep(_PAUSE)


def _find_or_claim(token: Any, key: str, about: dict[str, str], now: datetime) -> tuple[Answer, bool]:
    """Return the row of a key, and whether this request has claimed it.

    A request can claim a row that has no response and no valid claim. Waiting requests only read, so that they do not
    block writers.
    """
    current = Answer.objects.filter(token=token, key=key).first()
    if current is not None and not _is_old(current, now) and not _is_free(current, about, now):
        return current, False
    mine = secrets.token_hex(16)

    def take() -> Answer:
        row = Answer.objects.filter(token=token, key=key).first()
        if row is not None and _is_old(row, now):
            row.delete()
            row = None
        if row is None:
            return Answer.objects.create(token=token, key=key, **about, began_at=now, claimed_at=now, claim=mine)
        if _is_free(row, about, now):
            free = Answer.objects.filter(pk=row.pk, status=None, claim=row.claim)
            if free.update(claimed_at=now, claim=mine):
                row.claim = mine
        return row

    try:
        row = TransactionRetry("default").run(take)
    except IntegrityError:  # another request has created the row
        return _find_or_claim(token, key, about, now)
    return row, row.claim == mine


def _is_old(row: Answer, now: datetime) -> bool:
    return row.began_at < now - KEPT


def _is_free(row: Answer, about: dict[str, str], now: datetime) -> bool:
    """Tell whether a row belongs to this request, has no response and no valid claim."""
    is_claimed = row.claimed_at is not None and row.claimed_at >= now - LONGEST
    return not is_claimed and row.request == about["request"] and row.status is None


def _executed(view: Any, ours: Answer, act: Callable[[IdempotentRequest], Any], *, can_replay: bool) -> Any:
    """Execute the creation and store its response. After an error the key can be used again."""
    mine = Answer.objects.filter(pk=ours.pk, claim=ours.claim)
    try:
        answer = act(IdempotentRequest(ours.began_at, _seed(ours)))
    except Exception as problem:
        translated = problem_of(problem, view.request)
        if translated is not None and translated.kind.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            _save(mine.delete)
        else:
            _save(lambda: mine.update(claimed_at=None))
        raise
    finished = _finished(view, answer)
    headers = {name: finished[name] for name in _KEPT_HEADERS if name in finished}
    body = getattr(finished, "content", b"")
    digest = sha256(body).hexdigest() if can_replay and len(body) > SMALL else ""

    def save() -> None:
        kept = b"" if digest else ours.stored_body(body)
        mine.update(status=finished.status_code, headers=headers, body=kept, body_digest=digest)

    _save(save)
    return finished


def _body(kept: Answer) -> bytes:
    """Return the body of a stored response. Raises Problem if it cannot be opened."""
    body = kept.opened_body()
    if body is None:
        raise _unavailable(kept)
    return body


def _unavailable(kept: Answer) -> Problem:
    location = {name: value for name, value in kept.headers.items() if name == "Location"}
    detail = "The request was executed before, but its response is no longer available; read the record instead."
    return Problem(CONFLICT, detail, headers=location)


def _seed(ours: Answer) -> str:
    return f"urn:orb:{ours.token_id}:{ours.pk}:{ours.request}"


def _replayed(view: Any, kept: Answer, act: Callable[[IdempotentRequest], Any]) -> HttpResponse:
    """Return a response that is rebuilt from the request. Raises Problem if it differs from the first response."""
    rebuilt = _finished(view, act(IdempotentRequest(kept.began_at, _seed(kept), is_replay=True)))
    if sha256(rebuilt.content).hexdigest() != kept.body_digest:
        raise _unavailable(kept)
    return _replay(kept, rebuilt.content)


def _save(act: Callable[[], Any]) -> None:
    """Store the outcome of a request. If that fails, the creation is answered all the same.

    The claim then expires, and a repeated request creates the same record.
    """
    try:
        TransactionRetry("default").run(act)
    except (OrbError, Error) as problem:
        logger.warning("the outcome of an idempotent request could not be stored: %s", type(problem).__name__)


def _finished(view: Any, answer: Any) -> Any:
    """Return a response whose body is rendered."""
    if isinstance(answer, Response):
        answer = view.finalize_response(view.request, answer)
        answer.render()
    return answer


def _replay(kept: Answer, body: bytes) -> HttpResponse:
    answer = HttpResponse(body, status=kept.status)
    for name, value in kept.headers.items():
        answer[name] = value
    answer["Idempotent-Replayed"] = "true"
    return answer
