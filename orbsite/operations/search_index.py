"""Updates the search index to match the records in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report, Section
from orbsite.search.indexer import IndexStep, SearchIndex, is_searched, parse_place
from orbsite.storage.records.domain import Domain, registered
from orbsite.stores import open_sql_store

COLUMNS = ("read", "indexed", "removed", "unreadable")
MOST_READ, MOST_INDEXED = 10_000, 5_000
"""The maximum number of records that a round of maintenance compares, and of records that it indexes."""


def index(
    domains: Iterable[Domain],
    *,
    now: Callable[[], datetime],
    anew: bool = False,
    using: str = "default",
    progress: Progress = silent,
) -> Report:
    """Compare every record once with its words, and update the words that differ; with `anew`, rebuild all words.

    It continues at the position of the last pass, and wraps around. A row that does not decode has no words.
    """
    report = Report(columns=COLUMNS, bad=("unreadable",))
    for domain in domains:
        for kind in filter(is_searched, domain.kinds):
            progress.expect(open_sql_store(domain, using).count(kind))
            section = report.section(domain.name, (kind.plural,))
            for done in _one_round(SearchIndex(domain, kind, using), now, anew=anew):
                _count(section, kind.plural, done)
                progress(done.read)
    return report


def index_some(now: Callable[[], datetime], using: str = "default", progress: Progress = silent) -> int:
    """Continue the pass over each kind of record, up to a limit, and return the number of changed records."""
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


def _one_round(one: SearchIndex, now: Callable[[], datetime], *, anew: bool) -> Iterator[IndexStep]:
    began = parse_place(one.position().after)
    for is_second in (False, True) if began else (False,):
        while True:
            yield (done := one.go_on(now, anew=anew))
            if done.is_over or (is_second and began and done.after and done.after >= began):
                break


def _count(section: Section, kind: str, done: IndexStep) -> None:
    for what in COLUMNS:
        section.count(kind, what, getattr(done, what))
    section.findings += done.findings
