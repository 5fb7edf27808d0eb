"""The erasure list of this place, in the database and under the data directory, and what asks it.

Both lists are read as one. An erasure is entered in both before anything is removed, so that one that was stopped half
way still keeps its user's data out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from django.db import DatabaseError, connections, transaction

from orbsite.conf import app_settings
from orbsite.models.erasures import Erasure as ErasureRow
from orbsite.storage.base.erasures import Erasure, ErasureList, digest_of, new_salt
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.file.erasure import ErasureFile, ErasureFilter, without_erased
from orbsite.storage.findings import error, path_to
from orbsite.storage.records.domain import Domain, Entry

_BATCH = 1000
ADVICE = "it was left out, and nothing of it is kept; what the user saves from then on is taken"


def has_database(using: str = "default") -> bool:
    """Tell whether the database can be reached, and has the list."""
    try:
        return ErasureRow._meta.db_table in connections[using].introspection.table_names()
    except DatabaseError:
        return False


def in_database(using: str = "default") -> frozenset[Erasure]:
    """Return the list that the database has."""
    rows = ErasureRow.objects.using(using).values_list("at", "salt", "digest")
    return frozenset(Erasure(*row) for row in rows.iterator())


def add_to_database(erasures: Iterable[Erasure], using: str = "default") -> None:
    """Add erasures to the list in the database; those that are there already stay as they are."""
    rows = [ErasureRow(salt=one.salt, digest=one.digest, at=one.at) for one in sorted(erasures)]
    with transaction.atomic(using):
        ErasureRow.objects.using(using).bulk_create(rows, ignore_conflicts=True, batch_size=_BATCH)


def known(*bases: Path, using: str = "default") -> ErasureList:
    """Return the lists of the database and of the data directory, and of other directories, as one.

    Raises DocumentCorrupt where a list is damaged.
    """
    found = set(in_database(using)) if has_database(using) else set()
    for base in {app_settings.data_directory(), *bases}:
        found |= ErasureFile(base).read()
    return ErasureList(found)


def enter(user: str, at: datetime, *, base: Path | None, using: str | None) -> ErasureList:
    """Enter an erasure in the lists of a data directory and of a database, and return what is in both."""
    present = (in_database(using) if using else frozenset()) | (ErasureFile(base).read() if base else frozenset())
    salt = min((one.salt for one in present), default=None) or new_salt()
    everything = {*present, Erasure(at, salt, digest_of(user, salt))}
    if base is not None:
        ErasureFile(base).add(everything)
    if using is not None:
        add_to_database(everything, using)
    return ErasureList(everything)


def pseudonym(erasures: ErasureList, user: str) -> str:
    """Return what stands in the place of an erased user's id where a note of what was done stays."""
    return f"erased:{min(digest_of(user, one.salt) for one in erasures.erasures)[:16]}"


def refused(
    domain: Domain, erasures: ErasureList, entries: Iterator[Entry], source: Callable[[], Iterable[Entry]]
) -> Iterator[Entry]:
    """Return entries; in the place of those that were erased stands what says so, and holds nothing of them.

    `source` returns all entries of the source, of which these may be a part.
    """
    return _refused(domain, ErasureFilter(domain, erasures, source), entries) if erasures else entries


def _refused(domain: Domain, erasure_filter: ErasureFilter, entries: Iterator[Entry]) -> Iterator[Entry]:
    for entry in entries:
        moment = erasure_filter.moment(entry)
        yield entry if moment is None else _stand_in(domain, entry, moment)


def _stand_in(domain: Domain, entry: Entry, moment: datetime) -> Entry:
    owner = domain.layout.owner_of(entry)
    place = tuple("(erased)" if part == owner else part for part in entry.place)
    found = (error(path_to(place), f"its user was erased on {spell(moment)}; {ADVICE}"),) if entry.kind else ()
    return Entry(place=place, kind=entry.kind, is_erased=True, position=entry.position, findings=found)


def erasure_filter(domain: Domain, base: Path) -> Callable[[bytes], bytes]:
    """Return what takes out of a document, at the moment when it is called, what was erased up to then."""
    return partial(_without_erased, domain, base)


def _without_erased(domain: Domain, base: Path, data: bytes) -> bytes:
    return without_erased(domain, data, known(base))[0]
