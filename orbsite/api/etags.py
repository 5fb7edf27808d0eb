"""Strong ETags, and the conditions `If-Match` and `If-None-Match`.

An ETag is the quoted digest of a record. A resource that reads a record checks

    if is_unchanged(request, etag(record)): return not_modified(etag(record))

A resource that replaces a record passes the digest of `expected` to `Store.put`, which compares and sets atomically:

    store.put([new], expect=expected(request, current))

If two clients send the same ETag at the same time, one is answered 200 and the other 412. `must_be_free(request)` tells
whether the request may only create a record (`If-None-Match: *`, 412 if the record exists).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpResponse

from orbsite.api.problems import CHANGED, UNCONDITIONAL, Problem
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Record

_TAG = re.compile(r'(?P<weak>W/)?(?P<tag>"[\x21\x23-\x7e\x80-\xff]*")')

_WEAK = (
    'If-Match compares strong ETags only, but the request has a weak one (W/"..."), perhaps changed by a proxy. '
    "Send the ETag as this API returned it, without W/."
)


def etag(record: Record) -> str:
    """Return the ETag of a record: its digest in quotes."""
    return f'"{digest(record)}"'


def is_unchanged(request: Any, tag: str) -> bool:
    """Tell whether the client already has the version with this ETag (`If-None-Match`)."""
    condition = request.headers.get("If-None-Match", "")
    return condition.strip() == "*" or tag in _tags(condition, weak_too=True)


def not_modified(tag: str) -> HttpResponse:
    """Return the 304 response for a client that has the current version."""
    return HttpResponse(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})


def expected(request: Any, current: Record | None) -> str | None:
    """Return the digest that the stored record must have, or None if the request has no `If-Match`.

    Raises Problem: 412 if the current record is missing or differs; 428 if a condition is required and missing.
    """
    condition = request.headers.get("If-Match")
    if condition is None:
        if current is not None and settings.ORB_API_REQUIRE_IF_MATCH:
            raise Problem(UNCONDITIONAL)
        return None
    if current is None:
        raise Problem(CHANGED)
    current_digest = digest(current)
    if condition.strip() != "*" and f'"{current_digest}"' not in _tags(condition):
        only_weak = bool(_tags(condition, weak_too=True)) and not _tags(condition)
        raise Problem(CHANGED, _WEAK if only_weak else "", headers={"ETag": f'"{current_digest}"'})
    return current_digest


def must_be_free(request: Any) -> bool:
    """Tell whether the request may only create a record, not replace one (`If-None-Match: *`)."""
    return bool(request.headers.get("If-None-Match", "").strip() == "*")


def _tags(header: str, *, weak_too: bool = False) -> list[str]:
    return [match["tag"] for match in _TAG.finditer(header) if weak_too or not match["weak"]]
