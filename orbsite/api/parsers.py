"""Reads bodies as strictly as files are read: one loader for both.

A resource takes what came by `self.body()` (see `views`), and hands it to `storage.reader.read`. It is JSON without
repeated keys, NUL, lone surrogates, numbers that JavaScript would change, or more than a hundred levels; for anything
else the answer is 400 with the path of what is wrong, 413 for too many bytes or values, or 415 for another charset.
Values are counted before any of them is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, cast

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.http.request import HttpHeaders, HttpRequest
from rest_framework.parsers import BaseParser

from orbsite.api.problems import BAD, MEDIA, MOST_ERRORS, TOO_LARGE, TOO_SLOW, Problem
from orbsite.storage.encoding import json_parser
from orbsite.storage.findings import ROOT

_UTF8 = {"", "utf-8", "utf8"}


class StrictJSONParser(BaseParser):
    """JSON in UTF-8."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,  # noqa: ARG002 -- the parser was chosen by it
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the value that the body holds. Raises Problem."""
        request = (parser_context or {})["request"]
        _refuse_other_texts(request)
        return read_json(_bytes(stream, request.headers))


class MergePatchParser(StrictJSONParser):
    """JSON that says what to change, RFC 7396."""

    media_type = "application/merge-patch+json"


def read_json(data: bytes) -> Any:
    """Return the value of JSON. Raises Problem, with the path of everything that is wrong with it."""
    most = settings.ORB_API_MAX_VALUES
    try:
        json_parser.refuse_too_many(data, most)
        value = json_parser.parse(data)
    except json_parser.TooMany as problem:
        detail = f"A body has at most {most} values: objects, lists, keys, texts, numbers (ORB_API_MAX_VALUES)."
        raise Problem(TOO_LARGE, detail, errors=[(ROOT, f"holds more than {most} values")]) from problem
    except json_parser.MalformedJSON as problem:
        raise Problem(BAD, "The body is not JSON.", errors=[(ROOT, str(problem))]) from problem
    again = json_parser.repetitions(value, most=MOST_ERRORS)
    wrong = [*again, *json_parser.problems(value, ROOT, most=MOST_ERRORS)]
    if wrong:
        raise Problem(BAD, "The body holds what no record may hold.", errors=wrong)
    return value


def is_chunked(request: Any) -> bool:
    """Tell whether a body comes in chunks, without a length that is told first."""
    return "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()


def stream_of_chunks(request: Any) -> IO[Any]:
    """Return the body that comes in chunks, where `ends_by_itself`; Django takes it for empty."""
    return cast("IO[Any]", request.META.get("wsgi.input", request._request))


def ends_by_itself(request: HttpRequest) -> bool:
    """Tell whether the server knows where a body in chunks ends; that of Django for development does not."""
    return isinstance(request, ASGIRequest) or bool(request.META.get("wsgi.input_terminated"))


def _refuse_other_texts(request: Any) -> None:
    charset = request._request.content_params.get("charset", "").strip("\"' ").lower()
    if charset not in _UTF8:
        raise Problem(MEDIA, "The only charset is utf-8.")
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise Problem(MEDIA, "Send the body as it is, without Content-Encoding.")


def _bytes(stream: IO[Any], headers: HttpHeaders) -> bytes:
    most = settings.ORB_API_MAX_BYTES
    told = headers.get("Content-Length", "")
    if told.isdecimal() and int(told) > most:
        raise Problem(TOO_LARGE, f"A body has at most {most} bytes.")
    try:
        data: bytes = stream.read(most + 1)
    except OSError as problem:
        raise Problem(TOO_SLOW if _is_timeout(problem) else BAD, "The body did not come to its end.") from problem
    if len(data) > most:
        raise Problem(TOO_LARGE, f"A body has at most {most} bytes.")
    return data


def _is_timeout(problem: OSError) -> bool:
    return isinstance(problem, TimeoutError) or isinstance(problem.__cause__, TimeoutError)
