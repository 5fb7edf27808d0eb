"""Keyset pagination: pages neither skip nor repeat existing records, even if records are added in between.

A resource searches and answers with a page:

    wanted = PageRequest.of(request, Reflection, {"user": user, "tag": tag})
    return wanted.page_of(store, {"user_id": user}, tag=tag)

or, if it has to look at the records before, as Luna does:

    unreadable = list[Finding]()
    profiles = store.find(Profile, {"user_id": user}, tag=tag, **wanted.bounds, findings=unreadable)
    return wanted.page(profiles, unreadable=unreadable)

A page may have fewer items than the limit: it ends at ORB_API_PAGE_BYTES, but has one item at least.

The body is `{"items": [...], "next": "<address or null>"}`, with `unreadable` if items cannot be decoded. A `Link`
header repeats the next address. A cursor is opaque: it encodes the position of the last item and the search conditions.
A cursor that is sent with other conditions is answered 400.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpResponse

from orbsite.api.etags import is_unchanged, not_modified
from orbsite.api.problems import BAD, Problem
from orbsite.api.renderers import JSONRenderer, encoded_list
from orbsite.storage.base import cursor
from orbsite.storage.base.query import Query, memory_size
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.json_printer import canonical, compact
from orbsite.storage.findings import Finding, Unreadable
from orbsite.storage.records.record import Record

MOST = 100
"""The maximum number of items of a page, which is the default too."""
MOST_UNREADABLE = 100
"""The maximum number of undecodable items that one response lists."""
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for one page of records."""

    request: Any
    kind: type[Record]
    limit: int
    after: tuple[Any, ...] | None
    """The `order` of the last record of the previous page, for `Store.find`."""
    conditions: Mapping[str, Any]
    """The search conditions, which a cursor belongs to."""

    @classmethod
    def of(cls, request: Any, kind: type[Record], conditions: Mapping[str, Any]) -> PageRequest:
        """Return the page request that the parameters `limit` and `cursor` describe. Raises Problem."""
        text = request.query_params.get("cursor")
        after = None if text is None else _opened(text, kind, _digest(kind, conditions))
        return cls(request, kind, _limit(request.query_params.get("limit")), after, conditions)

    @property
    def bounds(self) -> dict[str, Any]:
        """The start and the limits for `Store.find`, with one more record than the page shows."""
        return {"after": self.after, "limit": self.limit + 1, "max_bytes": settings.ORB_API_PAGE_BYTES}

    def page_of(self, store: Store, where: Mapping[str, str], **conditions: Any) -> Any:
        """Return the response with the records of a store that meet the conditions of `Store.find`."""
        query = Query(where=where, **conditions, **self.bounds | {"limit": self.limit})
        query.check(self.kind)
        printed = store.printed(self.kind, query)
        if printed is not None:
            return self._response(printed.items, printed.following)
        unreadable = list[Finding]()
        found = store.find(self.kind, where, **conditions, **self.bounds, findings=unreadable)
        return self.page(found, unreadable=unreadable)

    def page(
        self, found: Sequence[Record], items: Sequence[Any] | None = None, *, unreadable: Sequence[Finding] = ()
    ) -> Any:
        """Return the response. `found` has one more record than the page shows if there is a next page.

        `items` replace the records in the body. `unreadable` are the findings of the read, which the body lists
        beside the items.
        """
        is_too_large = len(found) > 1 and sum(map(memory_size, found)) > settings.ORB_API_PAGE_BYTES
        has_next = len(found) > self.limit or is_too_large
        shown = found[:-1] if has_next else found
        printed = encoded_list(self.kind, shown) if items is None else compact(list(items[: len(shown)]))
        return self._response(printed, shown[-1].order if has_next else None, named(unreadable))

    def _response(self, items: bytes, last: tuple[Any, ...] | None, unreadable: bytes = b"") -> Any:
        """Return the response with printed items; `last` is the `order` of the last of them if there is a next page."""
        following = None if last is None else self._next(last)
        body = b'{"items":' + items + b',"next":' + msgspec.json.encode(following) + unreadable + b"}"
        tag = f'"{sha256(body).hexdigest()}"'
        if is_unchanged(self.request, tag):
            return not_modified(tag)
        headers = {"ETag": tag} | ({} if following is None else {"Link": f'<{following}>; rel="next"'})
        return HttpResponse(body, content_type=JSONRenderer.media_type, headers=headers)

    def _next(self, last: tuple[Any, ...]) -> str:
        query = self.request.query_params.copy()
        query["cursor"] = cursor.encode(last, _digest(self.kind, self.conditions))
        return f"{self.request.path}?{query.urlencode()}"


def named(unreadable: Sequence[Finding]) -> bytes:
    """Return the body's member `unreadable`, which lists the undecodable items, or no bytes if there are none."""
    items = [as_json(finding) for finding in unreadable[:MOST_UNREADABLE]]
    return b',"unreadable":' + msgspec.json.encode(items) if items else b""


def as_json(finding: Finding) -> dict[str, Any]:
    """Return the entry for an undecodable item: its kind, its key and the message, without its content."""
    kind, key = (finding.kind, finding.key) if isinstance(finding, Unreadable) else ("", ())
    return {"kind": kind, "key": list(key), "message": finding.message}


def _limit(text: str | None) -> int:
    if text is None:
        return MOST
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MOST)) and 1 <= int(text) <= MOST):
        raise Problem(BAD, errors=[("limit", f"is a number from 1 to {MOST}")])
    return int(text)


def _digest(kind: type[Record], conditions: Mapping[str, Any]) -> str:
    """Return the digest of a kind of record and search conditions, by which a cursor names them."""
    return sha256(canonical({"kind": kind.plural, **conditions})).hexdigest()[:_DIGITS]


def _opened(text: str, kind: type[Record], conditions: str) -> tuple[Any, ...]:
    try:
        return cursor.decode(text, kind, conditions)
    except ValueError as problem:
        reason = "is none that was handed out for these conditions; start without one"
        raise Problem(BAD, errors=[("cursor", reason)]) from problem
