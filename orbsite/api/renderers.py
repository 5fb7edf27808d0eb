"""Renders responses as JSON in the form that JavaScript prints, and encodes each record once.

A resource returns `Response(as_json(record))` or a page (see `pagination`). Bytes that are encoded already, such as
those of `encoded(record)`, are copied unchanged. `lines(values)` streams NDJSON.
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
from typing_extensions import override

from orbsite.storage.encoding import timestamps
from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.records.digest import Columns
from orbsite.storage.records.record import Instant, Record, holds_texts_alone

NDJSON = "application/x-ndjson"
_AT_A_TIME = 200
_BYTES_AT_A_TIME = 1 << 18
_SHORT = 1 << 20


class JSONRenderer(BaseRenderer):
    """Renders JSON as `JSON.stringify` prints it."""

    media_type = "application/json"
    format = "json"
    charset = None  # JSON is UTF-8
    render_style = "binary"

    @override
    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        return b"" if data is None else compact(data)


class NDJSONRenderer(JSONRenderer):
    """Declares the media type of newline-delimited JSON for content negotiation."""

    media_type = NDJSON
    format = "ndjson"


def as_json(record: Record) -> dict[str, Any]:
    """Return a record as the API shows it: the fields that its digest and ETag cover."""
    shown = record.as_json()
    for name in record.outside_digest:
        shown.pop(name, None)
    return shown


def encoded(record: Record) -> msgspec.Raw:
    """Return the record of `as_json` as encoded JSON."""
    shown = as_json(record)
    if record.extra is None and holds_texts_alone(type(record)):  # JavaScript prints texts as msgspec does
        return msgspec.Raw(msgspec.json.encode(shown))
    return msgspec.Raw(compact(shown))


def encoded_list(kind: type[Record], records: Sequence[Record]) -> bytes:
    """Return the JSON of a list of records. Records that contain only texts are encoded in one fast pass."""
    if not records or not holds_texts_alone(kind) or any(record.extra is not None for record in records):
        return msgspec.json.encode([encoded(record) for record in records])
    attributes, instants, shape = _shape(kind)
    columns = Columns(kind, records)
    values_of_fields = [columns.of(name) for name in attributes]
    for at in instants:
        values_of_fields[at] = [text and timestamps.shortened(text) for text in columns.spelled(attributes[at])]
    return msgspec.json.encode([shape(*values) for values in zip(*values_of_fields, strict=True)])


@cache
def _shape(kind: type[Record]) -> tuple[tuple[str, ...], tuple[int, ...], Any]:
    """Return the names of the shown fields in file order, the indexes of the timestamps, and a struct to encode."""
    shown = [one for one in msgspec.structs.fields(kind) if one.name != "extra"]
    shown = [one for one in shown if one.encode_name not in kind.outside_digest]
    fields: list[Any] = [(one.encode_name, Any, None) for one in shown]
    shape = msgspec.defstruct(kind.__name__, fields, omit_defaults=True, gc=False)
    instants = tuple(at for at, one in enumerate(shown) if one.type == Instant)
    return tuple(one.name for one in shown), instants, shape


def lines(values: Iterable[Any], *, filename: str) -> StreamingHttpResponse:
    """Return a response that streams JSON values, encoded or not, one per line, as a download."""
    answer = StreamingHttpResponse(_lines(values), content_type=NDJSON)
    answer["Content-Disposition"] = f'attachment; filename="{filename}"'
    return answer


def streamed(parts: Iterator[bytes], media_type: str, *, filename: str) -> HttpResponseBase:
    """Return a response that streams the parts as a download. A body of up to 1 MiB is sent whole, with its length."""
    buffered, size = list[bytes](), 0
    for part in parts:
        buffered.append(part)
        size += len(part)
        if size > _SHORT:
            answer: HttpResponseBase = StreamingHttpResponse(chain(buffered, parts), content_type=media_type)
            break
    else:
        answer = HttpResponse(b"".join(buffered), content_type=media_type)
    answer["Content-Disposition"] = f'attachment; filename="{filename}"'
    return answer


def _lines(values: Iterable[Any]) -> Iterator[bytes]:
    buffered: list[bytes] = []
    size = 0
    for value in values:
        buffered.append(bytes(value) if isinstance(value, msgspec.Raw) else compact(value))
        size += len(buffered[-1])
        if len(buffered) == _AT_A_TIME or size > _BYTES_AT_A_TIME:
            yield b"\n".join(buffered) + b"\n"
            buffered.clear()
            size = 0
    if buffered:
        yield b"\n".join(buffered) + b"\n"
