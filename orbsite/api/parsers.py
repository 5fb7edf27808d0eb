"""Reads bodies as strictly as files are read: one loader for both.

A resource takes what came by `self.body()` (see `views`), and hands it to `storage.reader.read`. It is JSON without
repeated keys, NUL, lone surrogates, numbers that JavaScript would change, or more than a hundred levels; for anything
else the answer was 400 with the path of what is wrong, 413 for too many bytes, or 415 for another charset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.http.request import HttpHeaders
from rest_framework.parsers import BaseParser

from orbsite.api.problems import BAD, MEDIA, TOO_LARGE, Problem
from orbsite.storage import jsontext
from orbsite.storage.finding import ROOT

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
    try:
        value = jsontext.parse(data)
    except jsontext.Malformed as problem:
        raise Problem(BAD, "The body is not JSON.", errors=[(ROOT, str(problem))]) from problem
    again = [(one.path, "the key stands here more than once") for one in jsontext.repetitions(value)]
    wrong: list[Any] = [*again, *jsontext.problems(value, ROOT)]
    if wrong:
        raise Problem(BAD, "The body holds what no record may hold.", errors=wrong)
    return value


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
    data: bytes = stream.read(most + 1)
    if len(data) > most:
        raise Problem(TOO_LARGE, f"A body has at most {most} bytes.")
    return data
