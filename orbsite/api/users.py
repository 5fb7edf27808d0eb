"""One user as a whole: everything there is of them as lines of JSON, and its erasure with a receipt."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from orbsite import audit, conf
from orbsite.addresses import of_client
from orbsite.api.renderers import NDJSON, JSONRenderer, NDJSONRenderer, encoded, lines
from orbsite.api.schema import shape
from orbsite.api.views import OrbView, opened
from orbsite.operations.erase import elsewhere, erase
from orbsite.operations.export import document_of
from orbsite.storage.clock import utc_now
from orbsite.storage.domain import registered
from orbsite.storage.record import Record
from orbsite.storage.store import Store

_PAGE = 1000
_LINE = {
    "type": "object",
    "properties": {"domain": {"type": "string"}, "kind": {"type": "string"}, "record": {"type": "object"}},
}
_FILES = {"type": "object", "additionalProperties": {"type": "object"}}
_RECEIPT = {
    "type": "object",
    "required": ["erased", "remains"],
    "properties": {"erased": shape("Report"), "remains": {"type": "object"}},
    "additionalProperties": False,
}


class UserExport(OrbView):
    """Everything that the stores hold of a user."""

    renderer_classes = (NDJSONRenderer, JSONRenderer)

    @extend_schema(operation_id="exportUser", responses={(200, NDJSON): _LINE, (200, "application/json"): _FILES})
    def get(self, request: Request, user: str) -> Any:
        """Stream a user's records, one a line; the last line says how many there were, so that none can be lost.

        To whoever accepts `application/json`, and no lines: for each domain its file, as the guide has it.
        """
        stores = [opened(domain) for domain in registered()]
        _note(request, "export", user)
        if request.accepted_renderer.format == JSONRenderer.format:
            return _files(stores, user)
        stream = _lines(stores, user)
        first = list(islice(stream, 1))  # a store out of reach is an answer of its own, and no broken stream
        return lines(chain(first, stream), filename="export.ndjson")


class User(OrbView):
    """A user."""

    scopes = {"DELETE": "admin"}

    @extend_schema(operation_id="eraseUser", responses={200: _RECEIPT})
    def delete(self, request: Request, user: str) -> Any:
        """Erase a user's records from the stores in use, and say what remains elsewhere."""
        _note(request, "erase", user)
        base = conf.data_directory()
        report = erase([opened(domain) for domain in registered()], user, base=base)
        return Response({"erased": report.as_json(), "remains": elsewhere(user, base, conf.backup_directory())})


def _note(request: Request, act: str, user: str) -> None:
    """Write who did it before it is done: what was not noted was not done."""
    token: Any = request.auth
    audit.note(utc_now(), f"token {token.prefix}", act, subject=user, address=of_client(request))


def _files(stores: list[Store], user: str) -> HttpResponse:
    parts = [f'"{store.domain.name}":'.encode() + document_of(store, user=user) for store in stores]
    answer = HttpResponse(b"{" + b",".join(parts) + b"}", content_type=JSONRenderer.media_type)
    answer["Content-Disposition"] = 'attachment; filename="export.json"'
    return answer


def _lines(stores: list[Store], user: str) -> Iterator[dict[str, Any]]:
    number = 0
    for store in stores:
        for kind in store.domain.kinds:
            for record in _walked(store, kind, user):
                number += 1
                yield {"domain": store.domain.name, "kind": kind.plural, "record": encoded(record)}
    yield {"end": True, "records": number}


def _walked(store: Store, kind: type[Record], user: str) -> Iterator[Record]:
    after = None
    while True:
        page = store.find(kind, {"user_id": user}, after=after, limit=_PAGE, oldest_first=True)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].order
