"""Parses request bodies with the same strict JSON parser that reads data files.

A resource gets the parsed body from `self.body()` (see `views`) and decodes it with `storage.records.decoder.read`.
The parser accepts JSON without repeated keys, NUL, lone surrogates, numbers that JavaScript would change, or more than
a hundred levels. Any other body is answered 400 with the path of each error, 413 for too many bytes or values, or 415
for another charset. Values are counted before any of them is built.
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
    """Parses JSON in UTF-8."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,  # noqa: ARG002 -- the parser was chosen by it
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the JSON value of the body. Raises Problem."""
        request = (parser_context or {})["request"]
        _refuse_other_encodings(request)
        return read_json(_bytes(stream, request.headers))


class MergePatchParser(StrictJSONParser):
    """Parses a JSON Merge Patch (RFC 7396)."""

    media_type = "application/merge-patch+json"


def read_json(data: bytes) -> Any:
    """Return the value of a JSON text. Raises Problem with the path of each error."""
    most = settings.ORB_API_MAX_VALUES
    try:
        json_parser.refuse_too_many(data, most)
        value = json_parser.parse(data)
    except json_parser.TooMany as problem:
        detail = f"A body may have at most {most} values: objects, lists, keys, texts, numbers (ORB_API_MAX_VALUES)."
        raise Problem(TOO_LARGE, detail, errors=[(ROOT, f"holds more than {most} values")]) from problem
    except json_parser.MalformedJSON as problem:
        raise Problem(BAD, "The body is not valid JSON.", errors=[(ROOT, str(problem))]) from problem
    repeated = json_parser.repetitions(value, most=MOST_ERRORS)
    wrong = [*repeated, *json_parser.problems(value, ROOT, most=MOST_ERRORS)]
    if wrong:
        raise Problem(BAD, "The body contains values that no record may contain.", errors=wrong)
    return value


def is_chunked(request: Any) -> bool:
    """Tell whether the body uses chunked transfer encoding, which has no Content-Length."""
    return "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()


def stream_of_chunks(request: Any) -> IO[Any]:
    """Return the stream of a chunked body, for servers where `ends_by_itself` holds. Django reads it as empty."""
    return cast("IO[Any]", request.META.get("wsgi.input", request._request))


def ends_by_itself(request: HttpRequest) -> bool:
    """Tell whether the server detects the end of a chunked body. Django's development server does not."""
    return isinstance(request, ASGIRequest) or bool(request.META.get("wsgi.input_terminated"))


def _refuse_other_encodings(request: Any) -> None:
    charset = request._request.content_params.get("charset", "").strip("\"' ").lower()
    if charset not in _UTF8:
        raise Problem(MEDIA, "The charset is not supported. Send the body in utf-8.")
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise Problem(MEDIA, "Compressed bodies are not supported. Send the body without Content-Encoding.")


def _bytes(stream: IO[Any], headers: HttpHeaders) -> bytes:
    most = settings.ORB_API_MAX_BYTES
    length = headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > most:
        raise Problem(TOO_LARGE, f"The body is too large. The limit is {most} bytes (ORB_API_MAX_BYTES).")
    try:
        data: bytes = stream.read(most + 1)
    except OSError as problem:
        raise Problem(TOO_SLOW if _is_timeout(problem) else BAD, "The end of the body was not received.") from problem
    if len(data) > most:
        raise Problem(TOO_LARGE, f"The body is too large. The limit is {most} bytes (ORB_API_MAX_BYTES).")
    return data


def _is_timeout(problem: OSError) -> bool:
    return isinstance(problem, TimeoutError) or isinstance(problem.__cause__, TimeoutError)
