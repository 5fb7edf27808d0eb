"""The figures of each store: small stores are counted for each page, large ones show their last counts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from django.db import DatabaseError

from orbsite.conf import app_settings
from orbsite.models.ledger import Run
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
"""The largest number of rows of a kind that a page counts."""
SMALL_BYTES = 4 << 20
"""The largest size in bytes of a file that a page reads."""
FILE, SQL = "file", "sql"
NAMES = {FILE: "files", SQL: "SQL"}

Limits: TypeAlias = dict[tuple[str, str], list[float]]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of one domain in one store."""

    domain: Domain
    store: str
    exists: bool = True
    """Whether the store exists; False for a file that was never saved."""
    is_small: bool = True
    """Whether the store was counted for this page."""
    counts: dict[str, int] = field(default_factory=dict)
    size: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    """The details from `overview`; empty if the store was never counted."""
    as_of: datetime | None = None
    """When the store was counted, or None if it was never counted."""
    problem: str = ""
    """Why the store cannot be read, and what to do next; empty if it can be read."""
    issues: tuple[Issue, ...] | None = ()
    """The issues of a file; None if the file is too large to be checked by a page."""
    journal: int = 0
    """The size of the journal in bytes."""
    written: datetime | None = None
    """When the file was last written."""
    digest: str = ""
    """The digest of a small file, as a migration run stores it."""

    def has_changed_since(self, run: Run) -> bool:
        """Tell whether a file differs from the one that a run read: by its digest or, if it is large, by its time."""
        if self.digest:
            return bool(run.sources.get(self.domain.name) != self.digest)
        return self.written is not None and self.written > run.started_at

    @property
    def newest(self) -> datetime | None:
        """The time of the newest record."""
        span = self.details.get("span")
        return parse(span[1])[0] if span else None

    @property
    def health(self) -> str:
        """The health of the store: `damaged`, `missing`, `not checked`, `has issues` or `healthy`."""
        if self.problem or any(issue.trouble.is_damage for issue in self.issues or ()):
            return "damaged"
        if not self.exists:
            return "missing"
        return "not checked" if self.issues is None else "has issues" if self.issues else "healthy"


def figures(
    domains: Iterable[Domain],
    policies: Sequence[RetentionPolicy],
    now: datetime,
    stores: Collection[str] = (FILE, SQL),
) -> list[Figures]:
    """Return the figures of each domain in the stores; those of an unreadable store have a problem."""
    limits, readers = _limits(policies), {FILE: _of_file, SQL: _of_sql}
    return [read(domain, limits, now) for domain in domains for store, read in readers.items() if store in stores]


def _large(domain: Domain, store: str, size: int) -> Figures:
    """Return the last counts of a store that is too large to be counted for a page."""
    last = Growth.objects.filter(domain=domain.name, store=store).order_by("-day").first()
    return Figures(
        domain=domain,
        store=store,
        is_small=False,
        counts=last.counts if last else {},
        size=size,
        details=(last.details if last else None) or {},
        as_of=last.noted_at if last else None,
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
        text = str(problem) if isinstance(problem, OrbError) else f"the database raised {type(problem).__name__}"
        return Figures(domain=domain, store=SQL, problem=text)


def _of_file(domain: Domain, limits: Limits, now: datetime) -> Figures:
    document = open_document(domain, app_settings.data_directory())
    try:
        written, journal = _written(document), document.journal_size()
        size = document.size()
        if size > SMALL_BYTES:
            return replace(_large(domain, FILE, size), issues=None, journal=journal, written=written)
    except (OrbError, OSError) as problem:
        return Figures(domain=domain, store=FILE, problem=_problem_text(problem))
    issues = tuple(examine(domain, document))
    known: dict[str, Any] = {"issues": issues, "journal": journal, "written": written}
    if written is None:
        return Figures(domain=domain, store=FILE, exists=bool(issues), as_of=now, **known)
    try:
        store = open_file_store(domain)
        made = overview(store, lambda: now, limits.get((domain.name, FILE), ()))
        digest = digest_of(store.snapshot()) or ""
    except (OrbError, OSError) as problem:
        return Figures(domain=domain, store=FILE, size=size, problem=_problem_text(problem), **known)
    return Figures(domain=domain, store=FILE, as_of=now, digest=digest, **made, **known)


def _limits(policies: Sequence[RetentionPolicy]) -> Limits:
    limits: Limits = {}
    for policy in policies:
        days = limit_of(policy) if policy.enabled else None
        if days is not None:
            limits.setdefault((policy.domain, policy.store), []).append(days)
    return limits


def _is_small(model: Any) -> bool:
    """Return whether a table has at most `SMALL_ROWS` rows; the query counts at most one row more."""
    return int(model._base_manager.order_by()[: SMALL_ROWS + 1].count()) <= SMALL_ROWS


def _span(store: SqlStore) -> dict[str, Any]:
    """Return the times of the oldest and the newest record, or nothing for records without an order by time."""
    kind = store.domain.kinds[0]
    span = statistics_of(store).span(kind) if is_ordered_by_time(kind) else None
    return {"span": [spell(span[0]), spell(span[1])]} if span else {}


def _written(document: Document) -> datetime | None:
    with document.reading() as directory:
        names = (document.name, document.journal)
        statuses = [directory.status_of(name) for name in names] if directory is not None else []
    return max(_times(statuses), default=None)


def _times(statuses: Iterable[Any]) -> Iterator[datetime]:
    return (datetime.fromtimestamp(status.st_mtime, UTC) for status in statuses if status is not None)


def _problem_text(problem: Exception) -> str:
    return str(problem) if isinstance(problem, OrbError) else f"the file system raised {type(problem).__name__}"
