"""Writes answers as JavaScript prints them, and each record once.

A resource returns `Response(as_json(record))`, or a page (see `pages`); what is printed already, as `encoded(record)`
is, is not looked at again. `lines(values)` is a stream of NDJSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

import msgspec
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.renderers import BaseRenderer

from orbsite.storage.encoding import timestamps
from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.records.digest import Columns
from orbsite.storage.records.record import Instant, Record, holds_texts_alone

NDJSON = "application/x-ndjson"
_AT_A_TIME = 200
_BYTES_AT_A_TIME = 1 << 18
_SHORT = 1 << 20


class JSONRenderer(BaseRenderer):
    """JSON as `JSON.stringify` prints it."""

    media_type = "application/json"
    format = "json"
    charset = None  # JSON is UTF-8
    render_style = "binary"

    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        """Return the body."""
        return b"" if data is None else compact(data)


class NDJSONRenderer(JSONRenderer):
    """One JSON value a line; for those who accept it."""

    media_type = NDJSON
    format = "ndjson"


def as_json(record: Record) -> dict[str, Any]:
    """Return a record as the API shows it: what its ETag covers, which is what travels with it."""
    shown = record.as_json()
    for name in record.outside_digest:
        shown.pop(name, None)
    return shown


def encoded(record: Record) -> msgspec.Raw:
    """Return the same as bytes of JSON."""
    shown = as_json(record)
    if record.extra is None and holds_texts_alone(type(record)):  # nothing that JavaScript prints in its own way
        return msgspec.Raw(msgspec.json.encode(shown))
    return msgspec.Raw(compact(shown))


def encoded_list(kind: type[Record], records: Sequence[Record]) -> bytes:
    """Return the JSON of a list of records; those of texts alone are printed all at once, many times as fast."""
    if not records or not holds_texts_alone(kind) or any(record.extra is not None for record in records):
        return msgspec.json.encode([encoded(record) for record in records])
    attributes, instants, shape = _shape(kind)
    columns = Columns(kind, records)
    found = [columns.of(name) for name in attributes]
    for at in instants:
        found[at] = [text and timestamps.shortened(text) for text in columns.spelled(attributes[at])]
    return msgspec.json.encode([shape(*values) for values in zip(*found, strict=True)])


@cache
def _shape(kind: type[Record]) -> tuple[tuple[str, ...], tuple[int, ...], Any]:
    """Return the fields that are shown, in the order of the files, which of them are instants, and what prints them."""
    shown = [one for one in msgspec.structs.fields(kind) if one.name != "extra"]
    shown = [one for one in shown if one.encode_name not in kind.outside_digest]
    fields: list[Any] = [(one.encode_name, Any, None) for one in shown]
    shape = msgspec.defstruct(kind.__name__, fields, omit_defaults=True, gc=False)
    instants = tuple(at for at, one in enumerate(shown) if one.type == Instant)
    return tuple(one.name for one in shown), instants, shape


def lines(values: Iterable[Any], *, filename: str) -> StreamingHttpResponse:
    """Return an answer that streams values, JSON as it is or encoded already, as lines, to be saved as a file."""
    answer = StreamingHttpResponse(_lines(values), content_type=NDJSON)
    answer["Content-Disposition"] = f'attachment; filename="{filename}"'
    return answer


def streamed(parts: Iterator[bytes], media_type: str, *, filename: str) -> HttpResponseBase:
    """Return an answer that streams parts, to be saved as a file; a short one is sent as a whole, with its length."""
    held, size = list[bytes](), 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size > _SHORT:
            answer: HttpResponseBase = StreamingHttpResponse(chain(held, parts), content_type=media_type)
            break
    else:
        answer = HttpResponse(b"".join(held), content_type=media_type)
    answer["Content-Disposition"] = f'attachment; filename="{filename}"'
    return answer


def _lines(values: Iterable[Any]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for value in values:
        held.append(bytes(value) if isinstance(value, msgspec.Raw) else compact(value))
        size += len(held[-1])
        if len(held) == _AT_A_TIME or size > _BYTES_AT_A_TIME:
            yield b"\n".join(held) + b"\n"
            held.clear()
            size = 0
    if held:
        yield b"\n".join(held) + b"\n"
