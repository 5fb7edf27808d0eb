"""Applies a JSON Merge Patch (RFC 7396) to a record, atomically.

return self.shown(patched(self, request, read=lambda: ..., fixed={"userId": user}, implied={"updatedAt": ...}))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orbsite.api.etags import expected
from orbsite.api.problems import BAD, Problem
from orbsite.api.views import OrbView, found
from orbsite.storage.encoding.merge_patch import merged
from orbsite.storage.errors import Conflict, OwnerConflict
from orbsite.storage.findings import ROOT, step
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import R

_ATTEMPTS = 5


def patched(
    view: OrbView,
    request: Any,
    read: Callable[[], R | None],
    *,
    fixed: Mapping[str, str],
    implied: Mapping[str, Any] | None = None,
) -> R:
    """Apply the patch in the body to a record, and return the changed record. Raises Problem, Http404 and Conflict.

    Without `If-Match`, a concurrent change makes it read the record again and retry. `fixed` members cannot change.
    `implied` members are set unless the patch sets them.
    """
    patch = view.object_of(view.body())
    others = [name for name, value in fixed.items() if patch.get(name, value) != value]
    wrong = [(step(ROOT, name), "cannot be changed") for name in others]
    if wrong:
        raise Problem(BAD, errors=wrong)
    for attempt in range(_ATTEMPTS):
        current = found(read())
        required_digest = expected(request, current)
        changed = view.record(type(current), merged(current.as_json(), {**(implied or {}), **patch}))
        try:
            view.store.put([changed], expect=required_digest or digest(current))
        except OwnerConflict:
            raise
        except Conflict:
            if required_digest is not None or attempt == _ATTEMPTS - 1:
                raise
        else:
            return changed
    raise Conflict("other requests keep changing the record; try again later")
