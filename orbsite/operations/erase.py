"""Removes all that the stores hold of one user, and tells what is left elsewhere, for whoever has to answer for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db.models import Q, Value
from django.db.models.functions import StrIndex
from django.db.models.lookups import GreaterThan

from orbsite.models import Change, Growth, Reject
from orbsite.operations.report import Report, Section
from orbsite.search.index import forget
from orbsite.storage.conditions import can_be_stored
from orbsite.storage.document import LOST_AND_FOUND
from orbsite.storage.finding import error
from orbsite.storage.javascript import compact
from orbsite.storage.record import Record
from orbsite.storage.sql import SqlStore
from orbsite.storage.store import Store
from orbsite.storage.tombstones import OWN, TOMBSTONES
from orbsite.tokens import Answer, Token
from orbsite.upkeep import Job

COLUMNS = ("erased",)
REMAINS = "remains"


def erase(stores: list[Store], user: str, *, base: Path) -> Report:
    """Remove a user's records from each store, the answers that were kept for their requests, and their words.

    Each kind goes as a whole or not at all; run again, it removes what is still there. What the receipt says remains is
    not searched but named: backups, tombstones and earlier files may hold something of anybody who was there then.
    """
    report = Report(columns=COLUMNS, bad=("left",))
    for store in stores:
        section = report.section(store.domain.name, (kind.plural for kind in store.domain.kinds))
        for kind in store.domain.kinds:
            section.count(kind.plural, "erased", store.delete_where(kind, {"user_id": user}))
            _tell_of_unreadable(store, kind, user, section)
        section.details[REMAINS] = {
            "history": _mentions(Change.objects.filter(domain=store.domain.name), "before", user),
            "rejects": _mentions(Reject.objects.filter(domain=store.domain.name), "original", user),
            "files": sorted(_beside(base / store.domain.file)),
        }
    Growth.objects.filter(details__isnull=False).update(details=None)  # tags and the like that may be theirs alone
    Job.objects.filter(samples__isnull=False).update(samples=None)  # what previews have shown of anybody
    if can_be_stored(user):
        Answer.objects.filter(user_id=user).delete()
        forget(user)
    return report


def _tell_of_unreadable(store: Store, kind: type[Record], user: str, section: Section) -> None:
    """Say how many of the user's rows are still there, for they do not decode, and no store removes such."""
    if not isinstance(store, SqlStore) or not can_be_stored(user):
        return
    left = store.domain.models[kind]._base_manager.using(store.using).filter(user_id=user).count()
    section.count(kind.plural, "left", left)
    if left:
        said = f"{left} rows do not decode, and are still there; sanitize them or take them out, then erase again"
        section.findings.append(error(kind.plural, said))


def elsewhere(user: str, base: Path, backups: Path) -> dict[str, Any]:
    """Return what remains that belongs to no domain: backups and tombstones by name, and how many tokens name them."""
    tokens = sum(user in token.users for token in Token.objects.filter(revoked_at=None).only("users"))
    return {
        "backups": sorted(_names(backups)),
        "tombstones": sorted(_names(base / OWN / TOMBSTONES)),
        "tokens": tokens,
    }


def _mentions(rows: Any, column: str, user: str) -> int:
    """Return how many rows hold the user's id as JSON spells it, letter by letter, in a key or in a text."""
    told = Value(compact(user).decode())
    where = Q(GreaterThan(StrIndex(column, told), 0))
    return int(rows.filter(where | Q(GreaterThan(StrIndex("key", told), 0)) if column == "before" else where).count())


def _beside(document: Path) -> Iterator[str]:
    """Yield what is kept beside a document, of which an earlier state may be: the one before, asides, the journal."""
    for name in _names(document.parent):
        if name != document.name and name.startswith(document.name):
            yield name
    yield from (f"{LOST_AND_FOUND}/{name}" for name in _names(document.parent / LOST_AND_FOUND))


def _names(directory: Path) -> list[str]:
    try:
        return [os.fsencode(path.name).decode(errors="backslashreplace") for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
