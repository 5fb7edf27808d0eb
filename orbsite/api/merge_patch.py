"""JSON Merge Patch (RFC 7396): what to change of a record, and the change itself, with nobody in between.

return self.shown(patched(self, request, read=lambda: ..., fixed={"userId": user}, implied={"updatedAt": ...}))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orbsite.api.etags import expected
from orbsite.api.problems import BAD, Problem
from orbsite.api.views import OrbView, found
from orbsite.storage.errors import Conflict, OwnerConflict
from orbsite.storage.findings import ROOT, step
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import R

_ATTEMPTS = 5


def merged(target: Any, patch: Any) -> Any:
    """Return what a patch makes of a value; null removes a member."""
    if not isinstance(patch, Mapping):
        return patch
    made = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made


def patched(
    view: OrbView,
    request: Any,
    read: Callable[[], R | None],
    *,
    fixed: Mapping[str, str],
    implied: Mapping[str, Any] | None = None,
) -> R:
    """Change a record as the body says, and return what it is then. Raises Problem, Http404 and Conflict.

    Without `If-Match` it is tried again on what others have made of it meanwhile; `fixed` members never change, and
    `implied` ones do where the patch does not say how.
    """
    patch = view.object_of(view.body())
    others = [name for name, value in fixed.items() if patch.get(name, value) != value]
    wrong = [(step(ROOT, name), "cannot be changed") for name in others]
    if wrong:
        raise Problem(BAD, errors=wrong)
    for attempt in range(_ATTEMPTS):
        current = found(read())
        asked = expected(request, current)
        changed = view.record(type(current), merged(current.as_json(), {**(implied or {}), **patch}))
        try:
            view.store.put([changed], expect=asked or digest(current))
        except OwnerConflict:
            raise
        except Conflict:
            if asked is not None or attempt == _ATTEMPTS - 1:
                raise
        else:
            return changed
    raise Conflict("others change it all the time; try again later")
