"""The erasure list of this installation, in the database and under the data directory, and the filter that applies it.

Both lists are read as one. An erasure is added to both before anything is deleted, so that an interrupted erasure still
keeps the user's data out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from django.db import DatabaseError, connections, transaction
from django.db.models import Max

from orbsite.conf import app_settings
from orbsite.models.erasures import Erasure as ErasureRow
from orbsite.storage.base.erasures import Erasure, ErasureList, digest_of, new_salt
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.file.erasure import ErasureFile, ErasureFilter, without_erased
from orbsite.storage.findings import error, path_to
from orbsite.storage.records.domain import Domain, Entry, Span, flattened

_BATCH = 1000
ADVICE = "it was left out, and nothing of it is kept; what the user saves from then on is taken"


def has_database(using: str = "default") -> bool:
    """Tell whether the database can be reached and has the erasure list."""
    try:
        return ErasureRow._meta.db_table in connections[using].introspection.table_names()
    except DatabaseError:
        return False


def in_database(using: str = "default") -> frozenset[Erasure]:
    """Return the erasure list of the database."""
    rows = ErasureRow.objects.using(using).values_list("at", "salt", "digest")
    return frozenset(Erasure(*row) for row in rows.iterator())


def erased_at(user: str, using: str = "default") -> datetime | None:
    """Return the time of a user's last erasure in the list of the database, found by the index of the list."""
    rows = ErasureRow.objects.using(using)
    salts = rows.order_by().values_list("salt", flat=True).distinct()
    moments = [rows.filter(salt=salt, digest=digest_of(user, salt)).aggregate(last=Max("at"))["last"] for salt in salts]
    return max((moment for moment in moments if moment is not None), default=None)


def add_to_database(erasures: Iterable[Erasure], using: str = "default") -> None:
    """Add erasures to the list in the database. Existing ones stay unchanged."""
    rows = [ErasureRow(salt=one.salt, digest=one.digest, at=one.at) for one in sorted(erasures)]
    with transaction.atomic(using):
        ErasureRow.objects.using(using).bulk_create(rows, ignore_conflicts=True, batch_size=_BATCH)


def known(*bases: Path | None, using: str = "default") -> ErasureList:
    """Return the erasure lists of the database, the data directory and other directories as one.

    Raises DocumentCorrupt where a list is damaged.
    """
    found = set(in_database(using)) if has_database(using) else set()
    for base in {app_settings.data_directory(), *filter(None, bases)}:
        found |= ErasureFile(base).read()
    return ErasureList(found)


def enter(user: str, at: datetime, *, base: Path | None, using: str | None) -> ErasureList:
    """Add an erasure to the lists of a data directory and of a database, and return both lists as one."""
    present = (in_database(using) if using else frozenset()) | (ErasureFile(base).read() if base else frozenset())
    salt = min((one.salt for one in present), default=None) or new_salt()
    everything = {*present, Erasure(at, salt, digest_of(user, salt))}
    if base is not None:
        ErasureFile(base).add(everything)
    if using is not None:
        add_to_database(everything, using)
    return ErasureList(everything)


def pseudonym(erasures: ErasureList, user: str) -> str:
    """Return the pseudonym that replaces an erased user's id in the logs that stay."""
    return f"erased:{min(digest_of(user, one.salt) for one in erasures.erasures)[:16]}"


def refused(
    domain: Domain, erasures: ErasureList, entries: Iterator[Entry | Span], source: Callable[[], Iterable[Entry]]
) -> Iterator[Entry | Span]:
    """Return entries, each erased one replaced by an entry that reports the erasure and holds none of its data.

    `source` returns all entries of the source, of which these may be a part.
    """
    if not erasures:
        return entries
    return _refused(domain, ErasureFilter(domain, erasures, source), flattened(entries))


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
    """Return a function that removes from a document the data of all users erased by the time of the call."""
    return partial(_without_erased, domain, base)


def _without_erased(domain: Domain, base: Path, data: bytes) -> bytes:
    return without_erased(domain, data, known(base))[0]
