"""Brings the words by which records are searched into step with the records in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.search.indexer import Progressed, SearchIndex, is_searched, place_in
from orbsite.storage.records.domain import Domain, registered
from orbsite.stores import open_sql_store

COLUMNS = ("read", "indexed", "removed", "unreadable")
MOST_READ, MOST_INDEXED = 10_000, 5_000
"""How many records a round of maintenance compares with their words, and after how many new ones it leaves the rest."""


def index(
    domains: Iterable[Domain],
    *,
    now: Callable[[], datetime],
    anew: bool = False,
    using: str = "default",
    progress: Progress = silent,
) -> Report:
    """Compare every record once with its words, and mend what differs; with `anew`, make all words again.

    It goes on where a pass was left, and goes round. A row that does not decode has no words.
    """
    report = Report(columns=COLUMNS, bad=("unreadable",))
    for domain in domains:
        for kind in filter(is_searched, domain.kinds):
            progress.expect(open_sql_store(domain, using).count(kind))
            section = report.section(domain.name, (kind.plural,))
            for done in _once_round(SearchIndex(domain, kind, using), now, anew=anew):
                _count(section, kind.plural, done)
                progress(done.read)
    return report


def index_some(now: Callable[[], datetime], using: str = "default", progress: Progress = silent) -> int:
    """Go on with the pass over each kind of record, up to a bound, and return how many got other words."""
    changed = 0
    for domain in registered():
        for kind in filter(is_searched, domain.kinds):
            one, read, indexed = SearchIndex(domain, kind, using), 0, 0
            while read < MOST_READ and indexed < MOST_INDEXED and not progress.is_stopping:
                done = one.go_on(now)
                read, indexed = read + done.read, indexed + done.indexed + done.removed
                if done.is_over:
                    break
            changed += indexed
    return changed


def _once_round(one: SearchIndex, now: Callable[[], datetime], *, anew: bool) -> Iterator[Progressed]:
    began = place_in(one.compare().after)
    for is_second in (False, True) if began else (False,):
        while True:
            yield (done := one.go_on(now, anew=anew))
            if done.is_over or (is_second and began and done.after and done.after >= began):
                break


def _count(section: Section, kind: str, done: Progressed) -> None:
    for what in COLUMNS:
        section.count(kind, what, getattr(done, what))
    section.findings += done.findings
