"""Exports all data of one user, and erases it with a receipt."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from orbsite.api.pagination import MOST_UNREADABLE, as_json, named
from orbsite.api.renderers import NDJSON, JSONRenderer, NDJSONRenderer, encoded, lines, streamed
from orbsite.api.schema import shape
from orbsite.api.views import OrbView, opened
from orbsite.conf import app_settings
from orbsite.models import audit_log
from orbsite.operations.files.export import parts_of_document
from orbsite.operations.records.erase import ELSEWHERE, erase
from orbsite.operations.report import Section
from orbsite.runtime.client_ip import of_client
from orbsite.storage.base.snapshot import snapshots
from orbsite.storage.base.store import Store
from orbsite.storage.clock import utc_now
from orbsite.storage.findings import Finding
from orbsite.storage.records.domain import registered

_UNREADABLE: dict[str, Any] = {"type": "array", "items": shape("Unreadable"), "maxItems": MOST_UNREADABLE}
_LINE = {
    "type": "object",
    "properties": {
        "domain": {"type": "string"},
        "kind": {"type": "string"},
        "record": {"type": "object"},
        "end": {"type": "boolean"},
        "records": {"type": "integer"},
        "unreadable": _UNREADABLE,
    },
}
_FILES = {
    "type": "object",
    "properties": {"unreadable": _UNREADABLE},
    "additionalProperties": {"type": "object"},
}
_PLACE = {
    "type": "object",
    "required": ["where", "what", "until"],
    "properties": {name: {"type": "string"} for name in ("where", "what", "until")},
}
_REMAINS = {
    "type": "object",
    "required": ["backups", "tombstones", "tokens", "places"],
    "properties": {
        "backups": {"type": "array", "items": {"type": "string"}},
        "tombstones": {"type": "array", "items": {"type": "string"}},
        "tokens": {"type": "integer"},
        "places": {"type": "array", "items": _PLACE},
    },
}
_RECEIPT = {
    "type": "object",
    "required": ["erased", "remains"],
    "properties": {"erased": shape("Report"), "remains": _REMAINS},
    "additionalProperties": False,
}


class UserExport(OrbView):
    """The export of all stored data of a user."""

    renderer_classes = (NDJSONRenderer, JSONRenderer)

    @extend_schema(operation_id="exportUser", responses={(200, NDJSON): _LINE, (200, "application/json"): _FILES})
    def get(self, request: Request, user: str) -> Any:
        """Stream a user's records from one snapshot, one per line. The last line has their number, to detect a cut.

        `unreadable` in the last line lists the user's items that cannot be decoded. A client that accepts
        `application/json` only gets one object with the data file of each domain, and `unreadable` beside them.
        """
        stores = [opened(domain) for domain in registered()]
        _note(request, "export", user)
        if request.accepted_renderer.format == JSONRenderer.format:
            return streamed(_files(stores, user), JSONRenderer.media_type, filename="export.json")
        return lines(_started(_lines(stores, user)), filename="export.ndjson")


class User(OrbView):
    """A user, with the data in all stores."""

    scopes = {"DELETE": "admin"}

    @extend_schema(operation_id="eraseUser", responses={200: _RECEIPT})
    def delete(self, request: Request, user: str) -> Any:
        """Erase a user in every existing store, and report which data remains elsewhere, where and until when.

        While a run is in progress, nothing is erased: 409, `run-under-way`.
        """
        _note(request, "erase", user)
        base, backups = app_settings.data_directory(), app_settings.backup_directory()
        stores = [opened(domain) for domain in registered()]
        report = erase(stores, user, base=base, backups=backups).as_json()
        return Response({"erased": report, "remains": report["domains"].pop(ELSEWHERE)})


def _note(request: Request, act: str, user: str) -> None:
    """Write the audit entry before the action, so that no action lacks one."""
    token: Any = request.auth
    audit_log.note(utc_now(), f"token {token.prefix}", act, subject=user, address=of_client(request))


def _started(parts: Iterator[Any]) -> Iterator[Any]:
    """Return an iterator whose first item is read, so that an unavailable store is an error, not a broken stream."""
    return chain(list(islice(parts, 1)), parts)


def _files(stores: list[Store], user: str) -> Iterator[bytes]:
    """Yield an object with the file of each domain, from one snapshot, and the undecodable items beside them."""
    unreadable, before = list[Finding](), b"{"
    with snapshots(stores, user) as taken:
        for snapshot in taken:
            section = Section()
            yield before + f'"{snapshot.domain.name}":'.encode()
            yield from parts_of_document(snapshot, section=section)
            unreadable, before = unreadable + section.findings, b","
    yield named(unreadable) + b"}"


def _lines(stores: list[Store], user: str) -> Iterator[dict[str, Any]]:
    number, unreadable = 0, list[Finding]()
    with snapshots(stores, user) as taken:
        for snapshot in taken:
            for kind in snapshot.domain.kinds:
                for kept in snapshot.records(kind, unreadable):
                    number += 1
                    yield {"domain": snapshot.domain.name, "kind": kind.plural, "record": encoded(kept.record)}
    listed = {"unreadable": [as_json(finding) for finding in unreadable[:MOST_UNREADABLE]]} if unreadable else {}
    yield {"end": True, "records": number} | listed
