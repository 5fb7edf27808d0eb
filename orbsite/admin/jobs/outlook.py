"""What an operation will do, as its form says it: from where to where, what is there now, what is new, and how long.

Everything is found in bounded time: a large file or table is not read, and its last counts are shown instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.template.defaultfilters import filesizeformat
from django.utils.text import capfirst

from orbsite.admin.base.ages import about, when
from orbsite.admin.base.permissions import may_see, may_see_all
from orbsite.conf import app_settings
from orbsite.conf.app_settings import Persistence
from orbsite.models.ledger import Run, RunState
from orbsite.operations.backup.uploads import UPLOADS
from orbsite.operations.jobs.parameters import Request, Storage
from orbsite.operations.statistics.durations import Estimate, estimate
from orbsite.operations.statistics.figures import FILE, NAMES, SQL, Figures, figures
from orbsite.storage.records.domain import registered

_STORES = {Storage.FILES: FILE, Storage.SQL: SQL}


@dataclass(frozen=True, slots=True)
class StoreContents:
    """What one store holds of one domain."""

    domain: str
    store: str
    """`files` or `SQL`."""
    counts: str
    newest: str
    size: str
    changes: str
    """What has changed since the last run; empty where no run reads the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What an operation will read and write, and how long it will take."""

    sources: list[str]
    targets: list[str]
    """Empty for an operation that writes nothing."""
    contents: list[StoreContents]
    duration: str


def outlook(kind: type[Request], user: Any, now: datetime) -> Outlook:
    """Return what an operation will do with the data that is there now, limited to what the user may view."""
    reads, writes = _resolved(kind.reads), _resolved(kind.writes)
    wanted = [_STORES[place] for place in dict.fromkeys((*reads, *writes)) if place in _STORES]
    domains = [domain for domain in registered() if may_see_all(user, domain)]
    found = figures(domains, (), now, wanted)
    last = _last_run(kind, now) if FILE in wanted and may_see(user, Run) else None
    contents = [_contents(one, last, now, shows_changes=may_see(user, Run)) for one in found]
    return Outlook(
        sources=[_address(place) for place in reads],
        targets=[_address(place) for place in writes],
        contents=contents,
        duration=_duration(estimate(kind.name, _records(found, _STORES.get(reads[0], "")))),
    )


def _resolved(places: Sequence[Storage]) -> list[Storage]:
    """Return the places, with the one that ORB_PERSISTENCE names instead of the store in use."""
    used = Storage.FILES if app_settings.persistence() is Persistence.FILE else Storage.SQL
    return [used if place is Storage.IN_USE else place for place in places]


def _address(place: Storage) -> str:
    match place:
        case Storage.FILES:
            return f"the JSON files in {_text(app_settings.data_directory())}"
        case Storage.BACKUPS:
            return f"the directory {_text(app_settings.backup_directory())}"
        case Storage.UPLOADS:
            return f"an uploaded database in {_text(app_settings.backup_directory() / UPLOADS)}"
    return database_address(connection.vendor, connection.settings_dict)


def database_address(vendor: str, known: Mapping[str, Any]) -> str:
    """Return the address of a database in Django's settings, without its user and password."""
    if vendor == "sqlite":
        return f"the SQLite database {known['NAME']}"
    port = f":{known['PORT']}" if known.get("PORT") else ""
    return f"the PostgreSQL database {known['NAME']} on {known.get('HOST') or 'this machine'}{port}"


def _text(path: os.PathLike[str]) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")


def _contents(one: Figures, last: Run | None, now: datetime, *, shows_changes: bool) -> StoreContents:
    if one.problem:
        return StoreContents(one.domain.name, NAMES[one.store], f"cannot be read: {one.problem}", "-", "-", "")
    return StoreContents(
        one.domain.name,
        NAMES[one.store],
        _counts(one, now),
        when(one.newest, now) if one.newest else "-",
        _size(one),
        _changes(one, last, now) if shows_changes and one.store == FILE else "",
    )


def _size(one: Figures) -> str:
    total = " in total" if one.store == SQL and connection.vendor == "sqlite" else ""  # one file has all tables
    return f"{filesizeformat(one.size)}{total}" if one.size else "-"


def _counts(one: Figures, now: datetime) -> str:
    if not one.exists or (one.store == FILE and one.written is None):
        return f"no file {one.domain.file} yet"
    known = [(kind.plural.replace("_", " "), one.counts.get(kind.plural)) for kind in one.domain.kinds]
    texts = [f"{number:,} {name}" for name, number in known if number is not None]
    if not texts:
        return "too large to be counted by this page; maintenance counts it once a day"
    counted = "" if one.is_small or one.as_of is None else f" (counted {when(one.as_of, now)})"
    return ", ".join(texts) + counted


def _changes(one: Figures, last: Run | None, now: datetime) -> str:
    if one.written is None:
        return "no file"
    if last is None or one.domain.name not in last.sources:
        return "not read by any run yet"
    verb = "changed" if one.has_changed_since(last) else "unchanged"
    return f"{verb} since run {last.pk}, {when(last.started_at, now)}"


def _last_run(kind: type[Request], now: datetime) -> Run | None:
    """Return the last complete run that has read the files under the data directory: of this operation, if there is."""
    source = _text(app_settings.data_directory())
    runs = Run.objects.filter(source=source, state=RunState.COMPLETE, started_at__lte=now).order_by("-id")
    name = kind.name if kind.name == Run.Operation.VERIFY else Run.Operation.MIGRATE
    return runs.filter(operation=name).only("sources", "started_at").first()


def _records(found: Sequence[Figures], store: str) -> int | None:
    """Return the number of records in the store that is read first; None if a part of it was never counted."""
    numbers = list(_numbers(one for one in found if one.store == store))
    return None if not numbers or None in numbers else sum(number or 0 for number in numbers)


def _numbers(found: Iterator[Figures]) -> Iterator[int | None]:
    for one in found:
        if one.store == FILE and (one.written is None or not one.exists):
            yield 0
        else:
            counts = [one.counts.get(kind.plural) for kind in one.domain.kinds]
            yield None if None in counts else sum(number or 0 for number in counts)


def _duration(found: Estimate | None) -> str:
    if found is None:
        return "There is no estimate, because the operation has not been completed here before."
    runs = f"the last {found.basis} runs" if found.basis > 1 else "the last run"
    how = f"at the speed of {runs}" if found.is_by_rate else f"as long as {runs} took"
    return f"{capfirst(about(found.seconds))}, {how}."
