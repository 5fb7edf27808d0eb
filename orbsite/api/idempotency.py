"""`Idempotency-Key`: a creation that is sent twice, because nobody knows whether it arrived, happens once.

A resource that creates wraps what it does:

    def post(self, request: Request, user: str) -> Any:
        return once(self, lambda attempt: self._create(attempt, user), can_replay=True)

`attempt.moment` is when the request came first, and `attempt.new_id(0)` an id that is the same each time: a creation
that a crash interrupted is done again with both, and comes to the same record. Without the header they are now, and
any id. With it the same key and body are answered the same, also where many come at once: one does the work, the
others wait for its answer. Another body or address under the same key is answered 422. Refusals (4xx) are not kept,
so that what was wrong can be mended under the same key.

Small answers are kept as they are. Of a large one, digest, status and headers are kept where `act` can make it again
from the same request: with `attempt.is_replay` it answers what it answered first, and neither reads nor writes a
record. So the answer is the same whatever became of the record since.
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
"""After what time nobody works on a request any more, for its worker has died."""
PATIENCE = 30.0
"""Seconds for which a request waits for the answer to another one."""
SMALL = 64 * 1024
"""Up to how many bytes an answer is kept as it is."""
_PAUSE = 0.05
_MOST_OF_A_KEY = 255
_KEPT_HEADERS = ("Content-Type", "ETag", "Location")


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """One of the times that a creation was asked for."""

    moment: datetime
    """When it was asked for first."""
    _seed: str | None = None
    is_replay: bool = False
    """Whether it was done, and only the answer is wanted."""

    def new_id(self, number: int) -> str:
        """Return the id for the record of a number in the request, the same in each attempt."""
        return str(uuid4() if self._seed is None else uuid5(NAMESPACE_URL, f"{self._seed}#{number}"))


def once(
    view: Any,
    act: Callable[[IdempotentRequest], Any],
    now: Callable[[], datetime] = utc_now,
    *,
    can_replay: bool = False,
) -> Any:
    """Return the answer of an act, which is done once for each key that a token sends. Raises Problem.

    `can_replay` says that the act makes its answer from the request and the attempt alone.
    """
    request = view.request
    key = request.headers.get(HEADER)
    if key is None:
        return act(IdempotentRequest(now()))
    if not 0 < len(key) <= _MOST_OF_A_KEY or not key.isprintable() or not key.isascii():
        raise Problem(BAD, errors=[(HEADER, f"is 1 to {_MOST_OF_A_KEY} printable characters of ASCII")])
    text = canonical([request.method, request.path, view.body()])
    user = view.kwargs.get("user", "")  # of one whom no store can hold, nothing will be kept
    about = {"request": sha256(text).hexdigest(), "user_id": user if can_be_stored(user) else ""}
    ours = _claimed(request.auth, key, about, now)
    if ours.body_digest:
        return _replayed(view, ours, act)
    if ours.status is not None:
        return _again(ours, bytes(ours.body))
    return _first(view, ours, act, can_replay=can_replay)


def _claimed(token: Any, key: str, about: dict[str, str], now: Callable[[], datetime]) -> Answer:
    """Return what is known of a key: an answer, or, for whoever has to give one, the claim to do so."""
    deadline = time.monotonic() + PATIENCE
    while True:
        row, is_ours = _look(token, key, about, now())
        if row.request != about["request"]:
            raise Problem(REUSED)
        if is_ours or row.status is not None:
            return row
        if time.monotonic() > deadline:
            raise Problem(CONFLICT, "The same request is still being worked on.", headers={"Retry-After": "5"})
        time.sleep(_PAUSE)


def _look(token: Any, key: str, about: dict[str, str], now: datetime) -> tuple[Answer, bool]:
    """Return the row of a key, and whether it is ours to answer: nobody works on it, or whoever did has died.

    Who waits only reads, so that waiting keeps nobody from writing.
    """
    there = Answer.objects.filter(token=token, key=key).first()
    if there is not None and not _is_old(there, now) and not _is_free(there, about, now):
        return there, False
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
    except IntegrityError:  # somebody was faster
        return _look(token, key, about, now)
    return row, row.claim == mine


def _is_old(row: Answer, now: datetime) -> bool:
    return row.began_at < now - KEPT


def _is_free(row: Answer, about: dict[str, str], now: datetime) -> bool:
    """Tell whether a row waits for the answer to this request, and nobody works on it."""
    is_claimed = row.claimed_at is not None and row.claimed_at >= now - LONGEST
    return not is_claimed and row.request == about["request"] and row.status is None


def _first(view: Any, ours: Answer, act: Callable[[IdempotentRequest], Any], *, can_replay: bool) -> Any:
    """Do it, and keep the answer; a refusal is forgotten, and what failed may be tried again."""
    mine = Answer.objects.filter(pk=ours.pk, claim=ours.claim)
    try:
        answer = act(IdempotentRequest(ours.began_at, _seed(ours)))
    except Exception as problem:
        told = problem_of(problem, view.request)
        if told is not None and told.kind.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            _keep(mine.delete)
        else:
            _keep(lambda: mine.update(claimed_at=None))
        raise
    finished = _finished(view, answer)
    headers = {name: finished[name] for name in _KEPT_HEADERS if name in finished}
    body = getattr(finished, "content", b"")
    kept = {"body": body}
    if can_replay and len(body) > SMALL:
        kept = {"body_digest": sha256(body).hexdigest()}
    _keep(lambda: mine.update(status=finished.status_code, headers=headers, **kept))
    return finished


def _seed(ours: Answer) -> str:
    return f"urn:orb:{ours.token_id}:{ours.pk}:{ours.request}"


def _replayed(view: Any, kept: Answer, act: Callable[[IdempotentRequest], Any]) -> HttpResponse:
    """Return an answer that is made again. Raises Problem where this version makes another one of the same request."""
    made = _finished(view, act(IdempotentRequest(kept.began_at, _seed(kept), is_replay=True)))
    if sha256(made.content).hexdigest() != kept.body_digest:
        where = {name: value for name, value in kept.headers.items() if name == "Location"}
        raise Problem(CONFLICT, "It was done, and its answer is not kept any more; read what there is.", headers=where)
    return _again(kept, made.content)


def _keep(act: Callable[[], Any]) -> None:
    """Note what became of a request, where that can be; where not, what was done is answered all the same.

    The claim runs out then, and whoever sends the request again comes to the same record.
    """
    try:
        TransactionRetry("default").run(act)
    except (OrbError, Error) as problem:
        logger.warning("what became of a request was not noted: %s", type(problem).__name__)


def _finished(view: Any, answer: Any) -> Any:
    """Return an answer with its bytes."""
    if isinstance(answer, Response):
        answer = view.finalize_response(view.request, answer)
        answer.render()
    return answer


def _again(kept: Answer, body: bytes) -> HttpResponse:
    answer = HttpResponse(body, status=kept.status)
    for name, value in kept.headers.items():
        answer[name] = value
    answer["Idempotent-Replayed"] = "true"
    return answer
