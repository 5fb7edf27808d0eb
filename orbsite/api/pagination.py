"""Keyset pages: they neither skip nor repeat what is there all the while, however much is added meanwhile.

A resource says what it looks for, and answers with a page:

    asked = Asked.of(request, Reflection, {"user": user, "tag": tag})
    unreadable = list[Finding]()
    found = store.find(Reflection, {"user_id": user}, tag=tag, **asked.bounds, findings=unreadable)
    return asked.page(found, unreadable=unreadable)

A page may have fewer items than it was asked for: of large ones as many as take ORB_API_PAGE_BYTES, and one at least.

The body is `{"items": [...], "next": "<address or null>"}`, with `unreadable` where something does not decode, and a
`Link` header says the same. A cursor is the place of the last item, in a form that is nobody's business; it goes with
the conditions it was made under, and with no others (400).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec
from django.conf import settings
from rest_framework.response import Response

from orbsite.api.etags import is_unchanged, not_modified
from orbsite.api.problems import BAD, Problem
from orbsite.api.renderers import encoded_list
from orbsite.storage.base.query import memory_size
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.encoding.json_printer import canonical, compact
from orbsite.storage.findings import Finding, Unreadable
from orbsite.storage.records.record import Record

MOST = 100
"""How many items a page has at most, and where nothing is asked for."""
MOST_UNREADABLE = 100
"""How many items that do not decode one answer names."""
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page is wanted."""

    request: Any
    kind: type[Record]
    limit: int
    after: tuple[Any, ...] | None
    """The `order` of the last record of the page before; for `Store.find`."""
    conditions: str
    """A digest of what the pages are about."""

    @classmethod
    def of(cls, request: Any, kind: type[Record], conditions: Mapping[str, Any]) -> PageRequest:
        """Return the page that a request asks for by `limit` and `cursor`. Raises Problem."""
        about = sha256(canonical({"kind": kind.plural, **conditions})).hexdigest()[:_DIGITS]
        cursor = request.query_params.get("cursor")
        after = None if cursor is None else _opened(cursor, kind, about)
        return cls(request, kind, _limit(request.query_params.get("limit")), after, about)

    @property
    def bounds(self) -> dict[str, Any]:
        """Where to begin and how much to find, for `Store.find`: one record more than is shown, where there is one."""
        return {"after": self.after, "limit": self.limit + 1, "max_bytes": settings.ORB_API_PAGE_BYTES}

    def page(
        self, found: Sequence[Record], items: Sequence[Any] | None = None, *, unreadable: Sequence[Finding] = ()
    ) -> Any:
        """Return the answer, from one record more than fits, so that it is known whether there is a next page.

        `items` are what to show in their places, where that is not the records themselves. `unreadable` are the
        findings of the read: what does not decode is named beside the items.
        """
        is_too_much = len(found) > 1 and sum(map(memory_size, found)) > settings.ORB_API_PAGE_BYTES
        goes_on = len(found) > self.limit or is_too_much
        shown = found[:-1] if goes_on else found
        following = self._next(shown[-1]) if goes_on else None
        printed = encoded_list(self.kind, shown) if items is None else compact(list(items[: len(shown)]))
        body = msgspec.Raw(
            b'{"items":' + printed + b',"next":' + msgspec.json.encode(following) + named(unreadable) + b"}"
        )
        tag = f'"{sha256(body).hexdigest()}"'
        if is_unchanged(self.request, tag):
            return not_modified(tag)
        headers = {"ETag": tag} | ({} if following is None else {"Link": f'<{following}>; rel="next"'})
        return Response(body, headers=headers)

    def _next(self, last: Record) -> str:
        query = self.request.query_params.copy()
        query["cursor"] = _closed(last.order, self.conditions)
        return f"{self.request.path}?{query.urlencode()}"


def named(unreadable: Sequence[Finding]) -> bytes:
    """Return the member of a body that names what does not decode; nothing where all of it does."""
    told = [as_json(one) for one in unreadable[:MOST_UNREADABLE]]
    return b',"unreadable":' + msgspec.json.encode(told) if told else b""


def as_json(finding: Finding) -> dict[str, Any]:
    """Return what an answer says of an item that does not decode: its kind and its key, and none of its text."""
    kind, key = (finding.kind, finding.key) if isinstance(finding, Unreadable) else ("", ())
    return {"kind": kind, "key": list(key), "message": finding.message}


def _limit(text: str | None) -> int:
    if text is None:
        return MOST
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MOST)) and 1 <= int(text) <= MOST):
        raise Problem(BAD, errors=[("limit", f"is a number from 1 to {MOST}")])
    return int(text)


def _closed(order: tuple[Any, ...], conditions: str) -> str:
    parts = [part.isoformat() if isinstance(part, datetime) else part for part in order]
    return base64.urlsafe_b64encode(msgspec.json.encode([conditions, *parts])).decode().rstrip("=")


def _opened(cursor: str, kind: type[Record], conditions: str) -> tuple[Any, ...]:
    wrong = Problem(BAD, errors=[("cursor", "is none that was handed out for these conditions; start without one")])
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        about, *parts = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=list[str])
        if about != conditions or len(parts) != len(kind.order_fields) or any(map(UNCLEAN.search, parts)):
            raise wrong
        return tuple(
            _moment(part) if name == kind.time_field else part
            for name, part in zip(kind.order_fields, parts, strict=True)
        )
    except (ValueError, OverflowError, UnicodeError, binascii.Error, msgspec.DecodeError) as problem:
        raise wrong from problem


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time has no zone")
    return moment.astimezone(UTC)
