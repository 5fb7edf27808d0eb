"""Strong ETags, and what `If-Match` and `If-None-Match` ask for.

An ETag is the digest of a record, quoted. A resource that reads says

    if is_unchanged(request, etag(record)): return not_modified(etag(record))

and one that writes over what is there takes `expect` from `expected`, and hands it to `Store.put`, which is atomic:

    store.put([new], expect=expected(request, current))

Two clients with the same ETag: one is answered 200, the other 412, also where the second one came between the two
lines. `must_be_free(request)` tells whether only a creation is wanted (`If-None-Match: *`, 412 where it is there).
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
    'If-Match compares strong ETags alone, and what was sent is weak (W/"..."), perhaps because a proxy made it so. '
    "Send the ETag as this API gave it, without W/."
)


def etag(record: Record) -> str:
    """Return the ETag of a record."""
    return f'"{digest(record)}"'


def is_unchanged(request: Any, tag: str) -> bool:
    """Tell whether the caller has what has this ETag already."""
    asked = request.headers.get("If-None-Match", "")
    return asked.strip() == "*" or tag in _tags(asked, weak_too=True)


def not_modified(tag: str) -> HttpResponse:
    """Return the answer to who has it already."""
    return HttpResponse(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})


def expected(request: Any, current: Record | None) -> str | None:
    """Return the digest of what may be replaced or removed, or None where no condition was sent.

    Raises Problem: 412 where something else is there, or nothing; 428 where a condition is needed and was not sent.
    """
    asked = request.headers.get("If-Match")
    if asked is None:
        if current is not None and settings.ORB_API_REQUIRE_IF_MATCH:
            raise Problem(UNCONDITIONAL)
        return None
    if current is None:
        raise Problem(CHANGED)
    there = digest(current)
    if asked.strip() != "*" and f'"{there}"' not in _tags(asked):
        only_weak = bool(_tags(asked, weak_too=True)) and not _tags(asked)
        raise Problem(CHANGED, _WEAK if only_weak else "", headers={"ETag": f'"{there}"'})
    return there


def must_be_free(request: Any) -> bool:
    """Tell whether the caller wants to create, and not to replace."""
    return bool(request.headers.get("If-None-Match", "").strip() == "*")


def _tags(header: str, *, weak_too: bool = False) -> list[str]:
    return [match["tag"] for match in _TAG.finditer(header) if weak_too or not match["weak"]]
