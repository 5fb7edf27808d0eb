"""How much each store holds: counted at once where that is little, else as it was last counted, and when that was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from django.db import DatabaseError

from orbsite.conf import app_settings
from orbsite.models.retention import RetentionPolicy
from orbsite.models.statistics import Growth
from orbsite.operations.statistics.overview import limit_of, overview
from orbsite.storage.encoding.timestamps import parse, spell
from orbsite.storage.errors import OrbError
from orbsite.storage.file.checker import Issue, examine
from orbsite.storage.file.document import Document
from orbsite.storage.filesystem.atomic_replace import digest_of
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import is_ordered_by_time
from orbsite.storage.sql.store import SqlStore
from orbsite.storage.statistics.counts import statistics_of
from orbsite.stores import open_document, open_file_store, open_sql_store

SMALL_ROWS = 20_000
"""Up to how many rows of a kind a page counts them."""
SMALL_BYTES = 4 << 20
"""Up to how many bytes of a file a page reads it."""
FILE, SQL = "file", "sql"
NAMES = {FILE: "files", SQL: "SQL"}

Limits: TypeAlias = dict[tuple[str, str], list[float]]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one store holds of one domain."""

    domain: Domain
    store: str
    is_there: bool = True
    """Whether there is anything at all: a file that nobody has saved yet is not."""
    is_small: bool = True
    """Whether it was counted just now."""
    counts: dict[str, int] = field(default_factory=dict)
    size: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    """As `overview` told them; nothing where nobody has counted yet."""
    as_of: datetime | None = None
    """When it was counted; None where nobody has yet."""
    problem: str = ""
    """Why it cannot be read, and what to do."""
    issues: tuple[Issue, ...] | None = ()
    """What is wrong with a file; None where it is too large to be looked at by a page."""
    journal: int = 0
    written: datetime | None = None
    """When a file was last written."""
    digest: str = ""
    """Of a small file, the digest that a migration's run would note."""

    @property
    def newest(self) -> datetime | None:
        """The time of the newest record."""
        span = self.details.get("span")
        return parse(span[1])[0] if span else None

    @property
    def health(self) -> str:
        """How it is, in a word."""
        if self.problem or any(one.trouble.is_damage for one in self.issues or ()):
            return "damaged"
        if not self.is_there:
            return "none"
        return "not looked at" if self.issues is None else "look at it" if self.issues else "healthy"


def figures(domains: Iterable[Domain], policies: Sequence[RetentionPolicy], now: datetime) -> list[Figures]:
    """Return the figures of both stores of each domain; of one that cannot be read, why."""
    limits = _limits(policies)
    return [one for domain in domains for one in (_of_file(domain, limits, now), _of_sql(domain, limits, now))]


def _large(domain: Domain, store: str, size: int) -> Figures:
    """Return what was last counted of a store that is too large to be counted for a page."""
    noted = _noted(domain, store)
    return Figures(
        domain=domain,
        store=store,
        is_small=False,
        counts=noted.counts if noted else {},
        size=size,
        details=(noted.details if noted else None) or {},
        as_of=noted.noted_at if noted else None,
    )


def _of_sql(domain: Domain, limits: Limits, now: datetime) -> Figures:
    try:
        store = open_sql_store(domain)
        if all(_is_small(model) for model in domain.models.values()):
            made = overview(store, lambda: now, limits.get((domain.name, SQL), ()))
            return Figures(domain=domain, store=SQL, as_of=now, **made)
        large = _large(domain, SQL, store.size())
        return replace(large, details=large.details | _span(store))
    except (OrbError, DatabaseError) as problem:
        why = str(problem) if isinstance(problem, OrbError) else f"the database refused: {type(problem).__name__}"
        return Figures(domain=domain, store=SQL, problem=why)


def _of_file(domain: Domain, limits: Limits, now: datetime) -> Figures:
    document = open_document(domain, app_settings.data_directory())
    try:
        written, journal = _written(document), document.journal_size()
        size = document.size()
        if size > SMALL_BYTES:
            return replace(_large(domain, FILE, size), issues=None, journal=journal, written=written)
    except (OrbError, OSError) as problem:
        return Figures(domain=domain, store=FILE, problem=_of_disk(problem))
    issues = tuple(examine(domain, document))
    known: dict[str, Any] = {"issues": issues, "journal": journal, "written": written}
    if written is None:
        return Figures(domain=domain, store=FILE, is_there=bool(issues), as_of=now, **known)
    try:
        store = open_file_store(domain)
        made = overview(store, lambda: now, limits.get((domain.name, FILE), ()))
        digest = digest_of(store.snapshot()) or ""
    except (OrbError, OSError) as problem:
        return Figures(domain=domain, store=FILE, size=size, problem=_of_disk(problem), **known)
    return Figures(domain=domain, store=FILE, as_of=now, digest=digest, **made, **known)


def _limits(policies: Sequence[RetentionPolicy]) -> Limits:
    found: Limits = {}
    for policy in policies:
        days = limit_of(policy) if policy.enabled else None
        if days is not None:
            found.setdefault((policy.domain, policy.store), []).append(days)
    return found


def _is_small(model: Any) -> bool:
    """Tell whether a table has few rows; no more are counted than that takes."""
    return int(model._base_manager.order_by()[: SMALL_ROWS + 1].count()) <= SMALL_ROWS


def _span(store: SqlStore) -> dict[str, Any]:
    """Return the ends of the index by time, where there is one."""
    kind = store.domain.kinds[0]
    span = statistics_of(store).span(kind) if is_ordered_by_time(kind) else None
    return {"span": [spell(span[0]), spell(span[1])]} if span else {}


def _noted(domain: Domain, store: str) -> Growth | None:
    return Growth.objects.filter(domain=domain.name, store=store).order_by("-day").first()


def _written(document: Document) -> datetime | None:
    with document.reading() as directory:
        names = (document.name, document.journal)
        found = [directory.status_of(name) for name in names] if directory is not None else []
    return max(_times(found), default=None)


def _times(found: Iterable[Any]) -> Iterator[datetime]:
    return (datetime.fromtimestamp(one.st_mtime, UTC) for one in found if one is not None)


def _of_disk(problem: Exception) -> str:
    return str(problem) if isinstance(problem, OrbError) else f"the disk refused: {type(problem).__name__}"
