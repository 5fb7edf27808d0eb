"""Measures full-text search in SQL: first pages, the bounded count of the admin's list, and the build of the index.

python -m benchmarks.search [ROWS] [postgresql]

Beside them, in the same run: the bare statement that finds exact words newest first, bare FTS5 on prepared words, and
the folding of the words alone. CPU is of this process, which includes SQLite and not PostgreSQL's server.
"""

from __future__ import annotations

import gc
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import figures
from benchmarks.figures import Bar, Figure, figure
from benchmarks.processes import PRODUCTION, fresh
from benchmarks.reflections import SEED, a_text
from tests.torture.databases import opened

TITLE = "Search"
NOTES = """
Ten users, one of 500 and one of 10,000 rows; some 120 words a reflection, of 28 frequent and 20,000 made-up ones. A
page has a hundred reflections and includes the search. The bare statement checks the newest rows by one prepared
query and returns keys. Times are of the processor on SQLite and of the wall on PostgreSQL, whose server is another
process. The size of a build's figures is in their names.

A count ends at 1,000 matches: that of a phrase reads the words of each row with both, because the index has no
positions, and took 340 ms up to 10,000 matches; that of a rarer word looks up rows all over the table. The build
of the last rows of a million takes longer, because FTS5 merges larger parts of its index: of 51 µs that writing
takes, the two prefix indexes of FTS5 are 25 and its merging 8.

Profiled: a search copied the list of all rows with its word into a temporary table to take 10,001 of them, merged the
lists of all words with a prefix to read one, and counted by checking each row of the table: the page of a frequent
word took 194 ms at 1,000,000, that of a phrase 452. Now it counts the rows of its rarest word up to a limit, sees how
many of the newest rows match, and reads the smaller side. In the build, rows were
decoded one by one, and folded character by character where they are not ASCII: 175 µs a record.
"""
FREQUENT = ("a frequent word", "a frequent word, a user of 500 rows", "a frequent word, a user of 10,000 rows")
PAGE, PHRASE, COUNT, BUILD = Bar(30), Bar(60), Bar(50), Bar(120)
"""Milliseconds of a page, of one of a phrase and of a count; microseconds of a record in the first build."""
ROWS, LEAST, BUILT, ROUNDS = 100_000, 20_000, 20_000, 7
USERS = {"small": 500, "large": 10_000}
"""The users with a given number of rows. Ten others share the rest."""
OTHERS, SESSION, PART = 10, 50, 10_000
VOCABULARY = 20_000
Result = TypeVar("Result")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MARKS = {"walrus": 50, "pelican": 10_000}
"""Words and the number of rows of which one has the word."""
PAGES = {
    "a frequent word": ("plan", None),
    "the beginning of a frequent word": ("kitch", None),
    "a word of every 50th row": ("walrus", None),
    "a word of every 10,000th row": ("pelican", None),
    "a word of no row": ("nobody", None),
    "a phrase of two frequent words": ('"plan merge"', None),
    "a frequent word without another": ("plan -kitchen", None),
    "a frequent word, a user of 500 rows": ("plan", "small"),
    "a frequent word, a user of 10,000 rows": ("plan", "large"),
    "a word of every 10,000th row, a user of 10,000 rows": ("pelican", "large"),
    "a word of no row, a user of 10,000 rows": ("nobody", "large"),
}
COUNTS = (
    "a frequent word",
    "a word of every 50th row",
    "a word of every 10,000th row",
    "a phrase of two frequent words",
    "a frequent word, a user of 10,000 rows",
)
BARE = (
    "SELECT r.row_id FROM te_reflections r WHERE EXISTS (SELECT 1 FROM orb_words w WHERE w.user_id = r.user_id AND "
    "w.key = r.id AND w.kind = 'reflections' AND w.digest = r.digest AND {has}) "
    "ORDER BY r.created_at DESC, r.id DESC, r.user_id DESC LIMIT 100"
)
HAS = {"sqlite": "instr(w.words, ' plan ') > 0", "postgresql": "strpos(w.words, ' plan ') > 0"}


def reflections(start: int, end: int, total: int) -> list[Any]:
    """Return some of the reflections of a table, in the order of their time; the users' rows are spread over it."""
    from te.records import Reflection

    vocabulary, weights = _vocabulary()
    return [
        Reflection(
            id=f"{draw.getrandbits(128):032x}",
            user_id=(user := _user(at, total)),
            session_id=f"{user}-{at // SESSION}",
            input=a_text(draw, 20),
            output=" ".join(
                (
                    a_text(draw, 40),
                    *draw.choices(vocabulary, cum_weights=weights, k=60),
                    *(word for word, every in MARKS.items() if not draw.randrange(every)),
                )
            ),
            tags=tuple(draw.sample(("home", "work", "travel"), 2)),
            notes="Task status: completed",
            created_at=NOW - timedelta(days=300) + timedelta(seconds=at * 20_000_000 // total),
        )
        for at in range(start, end)
        for draw in (random.Random(SEED + at),)
    ]


@cache
def _vocabulary() -> tuple[list[str], list[float]]:
    """Return made-up words and their cumulative weights, by which a few words are frequent and most are rare."""
    draw = random.Random(SEED)
    made = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(4, 10))) for _ in range(VOCABULARY)]
    return made, list(accumulate(1 / rank for rank in range(10, VOCABULARY + 10)))


def _user(at: int, total: int) -> str:
    for place, (name, number) in enumerate(USERS.items()):
        if at % (total // number) == place and at // (total // number) < number:
            return name
    return f"user-{at // SESSION % OTHERS}"


class Bench:
    """The table, its index, and the measurements."""

    def __init__(self, rows: int) -> None:
        from orbsite.search.indexer import SearchIndex
        from orbsite.stores import open_sql_store
        from te.domain import DOMAIN
        from te.models import ReflectionRow
        from te.records import Reflection

        self.kind, self.model, self.rows = Reflection, ReflectionRow, rows
        self.store, self.index = open_sql_store(DOMAIN), SearchIndex(DOMAIN, Reflection)

    def fill(self, start: int, end: int) -> None:
        """Write some of the rows into the table."""
        for at in range(start, end, PART):
            records = reflections(at, min(at + PART, end), self.rows)
            with self.store.transaction():
                self.store.insert(
                    self.store.make_batch(self.kind, records, [None] * len(records)), range(len(records)), 1
                )

    def build(self) -> int:
        """Index all records that are not indexed yet, and return their number."""
        indexed = 0
        while True:
            done = self.index.go_on(lambda: NOW)
            indexed += done.indexed
            if done.is_over:
                return indexed

    def page(self, text: str, user: str | None) -> int:
        """Read the first hundred reflections of a search, as the API does."""
        from orbsite.search.query import read
        from orbsite.search.search import Searched

        where = {} if user is None else {"user_id": user}
        store = Searched(self.store.domain, "default", self.kind, read(text), where)
        return len(store.find(self.kind, where, limit=100))

    def listed(self, text: str, user: str | None) -> int:
        """Make the list of the admin for a search: look for ids, search, count, and read a page of fifty rows."""
        from django.contrib import admin
        from django.contrib.auth.models import User
        from django.test import RequestFactory

        query = {"q": text} | ({} if user is None else {"user_id": user})
        request = RequestFactory().get("/", query)
        request.user = User(is_superuser=True, is_active=True)
        listed = admin.site._registry[self.model].get_changelist_instance(request)
        return int(listed.paginator.count)

    def counter(self, text: str, user: str | None) -> Callable[[], int]:
        """Return the bounded count of the list of the admin alone, after the search."""
        from orbsite.admin.records.search import MOST_MATCHES
        from orbsite.search.query import read
        from orbsite.search.search import search

        rows = self.model._base_manager.filter(**({} if user is None else {"user_id": user}))
        found = search(rows, read(text))
        return lambda: found.count(MOST_MATCHES)

    def bare(self) -> int:
        """Find the newest hundred rows with a frequent word by one prepared statement."""
        from django.db import connection

        with connection.cursor() as cursor:
            return len(cursor.execute(BARE.format(has=HAS[connection.vendor])).fetchall())


def measured(act: Callable[[], object], clock: Callable[[], float], rounds: int = ROUNDS) -> list[float]:
    """Return the seconds of calls after a first one."""
    act()
    gc.collect()
    return [once(act, clock)[0] for _ in range(rounds)]


def once(act: Callable[[], Result], clock: Callable[[], float]) -> tuple[float, Result]:
    """Return the seconds of a call, and what it returned."""
    before = clock()
    result = act()
    return clock() - before, result


def _queries(bench: Bench) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "the bare statement, a frequent word", bench.bare
    for name, asked in PAGES.items():
        yield f"page: {name}", lambda asked=asked: bench.page(*asked)  # type: ignore[misc]  # bound at once
    for name in COUNTS:
        yield f"list and count: {name}", lambda asked=PAGES[name]: bench.listed(*asked)  # type: ignore[misc]
    for name in COUNTS:
        yield f"count alone: {name}", bench.counter(*PAGES[name])


def _bar(name: str) -> Bar | None:
    """Return the bar of a query."""
    kind, _, words = name.partition(": ")
    if kind == "page":
        return PHRASE if "phrase" in words else PAGE if words in FREQUENT else None
    return COUNT if kind == "count alone" else None


def _build(bench: Bench, work: Path, clock: Callable[[], float]) -> list[Figure]:
    """Build the index of all rows, of some first, and return the figures of one record."""
    from orbsite.search.analyzer import document
    from orbsite.search.indexer import texts_of

    number = min(BUILT, bench.rows)
    bench.fill(0, number)
    records = reflections(0, number, bench.rows)
    folding, documents = once(lambda: [document(texts_of(record)) for record in records], clock)
    bare, _ = once(lambda: _bare_fts5(work / "bare.sqlite3", documents), clock)
    building, _ = once(bench.build, clock)
    bench.fill(number, bench.rows)
    rest, indexed = once(bench.build, clock)
    return [
        figure(f"build of {number:,}: folding alone, a record", folding / number, "µs"),
        figure(f"build of {number:,}: FTS5 alone, a record", bare / number, "µs"),
        figure(f"build of {number:,}: the index, a record", building / number, "µs", bar=BUILD),
        *([figure("build of the others: the index, a record", rest / indexed, "µs")] if indexed else []),
    ]


def _bare_fts5(path: Path, documents: list[str]) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE VIRTUAL TABLE bare USING fts5(words, content='', tokenize='ascii', detail=none)")
        connection.executemany("INSERT INTO bare(rowid, words) VALUES (?, ?)", enumerate(documents))


def main() -> None:
    """Fill the table, build the index, and record what each step takes."""
    rows = max(LEAST, int(sys.argv[1])) if len(sys.argv) > 1 else ROWS
    vendor = sys.argv[2] if len(sys.argv) > 2 else "sqlite"  # noqa: PLR2004
    clock = time.process_time if vendor == "sqlite" else time.perf_counter
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(opened(vendor, work))
        os.environ |= {"DJANGO_SETTINGS_MODULE": "orbsite.settings", "DATABASE_URL": database.address}
        os.environ |= {"ORB_PERSISTENCE": "sql", **PRODUCTION}
        fresh(database.address)
        import django

        django.setup()
        bench = Bench(rows)
        built = _build(bench, work, clock)
        _settle()
        found = [figure(name, measured(act, clock), "ms", bar=_bar(name)) for name, act in _queries(bench)]
        _close()
    figures.record("search", rows, figures.SQLITE if vendor == "sqlite" else figures.POSTGRESQL, found + built)


def _settle() -> None:
    """Update the statistics of PostgreSQL, as autovacuum would do later."""
    from django.db import connection

    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _close() -> None:
    from django.db import connection

    connection.close()


if __name__ == "__main__":
    main()
