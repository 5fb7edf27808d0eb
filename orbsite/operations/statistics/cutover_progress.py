"""How far a rolling cut-over is: for each user, whether the files and SQL hold the same records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from orbsite.conf import app_settings
from orbsite.models.statistics import CutoverProgress
from orbsite.operations.progress import Progress, silent
from orbsite.storage.errors import OrbError
from orbsite.storage.records.checksum import Sums
from orbsite.storage.records.digest import digest
from orbsite.storage.records.domain import Domain, registered
from orbsite.stores import open_document, open_file_store, open_sql_store

logger = logging.getLogger(__name__)

PLACES = ("equal", "differ", "only_in_files", "only_in_sql")


def note_progress(
    now: Callable[[], datetime], domains: Iterable[Domain] | None = None, progress: Progress = silent
) -> int:
    """Save a row for each domain that has a file, and return their number. The last one of a day counts.

    Both stores are read as a whole. A store that cannot be read is logged, and the other domains get their rows.
    """
    moment, noted = now(), 0
    for domain in registered() if domains is None else domains:
        if not open_document(domain, app_settings.data_directory()).path.exists():
            continue
        try:
            counts = compared_users(domain, progress)
        except OrbError as problem:
            logger.warning("the progress of the cut-over was not saved for %s: %s", domain.name, problem)
            continue
        day = moment.astimezone(UTC).date()
        values = {"counts": counts, "noted_at": moment}
        CutoverProgress.objects.update_or_create(day=day, domain=domain.name, defaults=values)
        noted += 1
    return noted


def compared_users(domain: Domain, progress: Progress = silent) -> dict[str, int]:
    """Return the number of users by where their records are, and the number of those users' records.

    The keys are those of `PLACES`, and the same with `_records`. Users with the same records in both stores are equal.
    Of a user whose records differ, the larger number of records counts.
    """
    ours, theirs, files, target = Sums(), Sums(), open_file_store(domain), open_sql_store(domain)
    for kind in domain.kinds:
        for record in files.walk(kind):
            ours.add(record.owner, digest(record))
            progress(1)
        theirs.merge(target.sums(kind))
    counts = dict.fromkeys((*PLACES, *(f"{place}_records" for place in PLACES)), 0)
    for user in ours.of_users.keys() | theirs.of_users.keys():
        in_files, in_sql = ours.of_users.get(user), theirs.of_users.get(user)
        place = _place(in_files, in_sql)
        counts[place] += 1
        counts[f"{place}_records"] += max(in_files or (0, 0), in_sql or (0, 0))[0]
    return counts


def _place(in_files: tuple[int, int] | None, in_sql: tuple[int, int] | None) -> str:
    if in_sql is None:
        return "only_in_files"
    if in_files is None:
        return "only_in_sql"
    return "equal" if in_files == in_sql else "differ"
