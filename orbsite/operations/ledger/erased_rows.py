"""Erases a user from the database: deletes the user's rows, and writes a pseudonym into the logs that stay."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from django.apps import apps
from django.db import connections, models, transaction
from django.db.models import Q

from orbsite.models.audit_log import Event
from orbsite.models.idempotency import Answer
from orbsite.models.jobs import Job, JobState
from orbsite.models.ledger import Change, Reject, Run, owner_in_key
from orbsite.models.retention import PolicyRun, RetentionPolicy
from orbsite.models.search_index import Words
from orbsite.models.statistics import Growth
from orbsite.models.user_keys import destroy
from orbsite.operations.batched import batched
from orbsite.operations.ledger.detached_partitions import detached_of, erase_from_detached, users_in_detached
from orbsite.operations.ledger.erasure_list import add_to_database, has_database, pseudonym
from orbsite.operations.ledger.text_search import contains, holds_bytes, spellings
from orbsite.search.indexer import forget
from orbsite.storage.base.erasures import ErasureList, moment_in
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import OrbError
from orbsite.storage.findings import path_to
from orbsite.storage.records.changes import Put, StepReader
from orbsite.storage.records.domain import Domain, Entry, registered
from orbsite.storage.records.record import Key, Record, columns
from orbsite.storage.records.sealed_columns import is_sealing, open_values
from orbsite.storage.sql.filters import by_keys
from orbsite.storage.sql.models import read_row

_BATCH = 500
_NOTES: tuple[tuple[type[models.Model], tuple[str, ...]], ...] = (
    (Job, ("arguments", "result", "so_far", "error")),
    (PolicyRun, ("result", "error")),
    (RetentionPolicy, ("last_result", "last_error")),
    (Event, ("subject", "facts")),
    (Run, ("source",)),
)
"""The models of logs that stay, with the fields that may name a user."""
_NOTES_OF_ADMIN = ("object_id", "object_repr", "change_message")
"""The same fields of the admin's log, in a project with the admin."""


@dataclass(slots=True)
class Erased:
    """The rows of a user that an erasure deleted."""

    records: dict[type[Record], int] = field(default_factory=dict)
    keys: set[tuple[type[Record], Key]] = field(default_factory=set)
    changes: int = 0
    rejects: int = 0
    data_keys: list[datetime] = field(default_factory=list)
    """When each of the data keys was made that were destroyed."""


def erase_rows(user: str, domains: list[Domain], using: str, *, until: datetime | None = None) -> Erased:
    """Delete a user's rows and their copies in the ledger, all or nothing; with `until`, only rows that are not newer.

    Records are deleted first, so that ledger rows written meanwhile are deleted too.
    """
    erased = Erased()
    enable_secure_delete(using)
    with transaction.atomic(using):
        if until is None:  # first, so that what is saved meanwhile is sealed with a new key
            erased.data_keys = destroy(user, using, at=utc_now())
        for domain in domains:
            has_newer = until is not None and _has_newer(domain, user, using, until)
            for kind, model in domain.models.items():
                keys = _erase_records(kind, model, user, using, until, timeless=not has_newer)
                erased.records[kind] = len(keys)
                erased.keys |= {(kind, key) for key in keys}
        erased.changes += erase_from_detached(user, domains, using, until=until)
        for domain in domains:
            erased.changes += _erase_changes(domain, user, using, until)
            erased.rejects += _erase_rejects(domain, user, using)
        Growth.objects.using(using).filter(details__isnull=False).update(details=None)  # may hold this user's tags
        Job.objects.using(using).filter(samples__isnull=False).update(samples=None)
        needles = [spelling.encode() for spelling in spellings(user)]
        Answer.objects.using(using).filter(Q(user_id=user) | holds_bytes("body", needles)).delete()
        if until is not None and not any(_has_newer(domain, user, using, until) for domain in domains):
            erased.data_keys += destroy(user, using, at=utc_now(), until=until)
        if until is None:
            forget(user, using)
    return erased


def erase_since(erasures: ErasureList, domains: list[Domain], using: str) -> None:
    """Delete from a restored database the data of users erased since its backup, and complete its erasure list."""
    if not has_database(using) or not erasures:
        return
    add_to_database(erasures.erasures, using)
    for user in _users(domains, using):
        moment = erasures.moment(user)
        if moment is not None:
            erase_rows(user, domains, using, until=moment)
            rename(user, pseudonym(erasures, user), using)
    clear_away(using)


def _users(domains: list[Domain], using: str) -> set[str]:
    """Return the ids of all users that the records, the ledger, the search index, the answers and the jobs name."""
    owned: list[Any] = [model for domain in domains for model in domain.models.values()]
    found = users_in_detached(domains, using)
    for model in (*owned, Words, Answer):
        found.update(model._base_manager.using(using).values_list("user_id", flat=True).distinct().iterator())
    found.update(Event.objects.using(using).filter(act__in=("erase", "export")).values_list("subject", flat=True))
    for arguments in Job.objects.using(using).values_list("arguments", flat=True):
        user = arguments.get("user") if isinstance(arguments, dict) else None
        found.update([user] if isinstance(user, str) else [])
    kinds = {kind.plural: kind for domain in domains for kind in domain.kinds}
    for change in Change.objects.using(using).only("kind", "key", "before").iterator(_BATCH):
        owner = owner_in_key(kinds.get(change.kind), change.key)
        found.update(_owners_in(change.before) if owner is None else [owner])
    for reject in Reject.objects.using(using).only("owner", "original").iterator(_BATCH):
        found.update([reject.owner] if reject.owner else _owners_in(reject.original))
    return found


def enable_secure_delete(using: str) -> None:
    """Make SQLite overwrite what is deleted or changed from now on."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")


def clear_away(using: str) -> None:
    """Purge deleted rows and words from the files of the database, where the database can do that."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("INSERT INTO orb_words_index(orb_words_index) VALUES ('optimize')")
            if not connection.in_atomic_block:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        elif not connection.in_atomic_block:
            kept: list[Any] = [model for domain in registered() for model in domain.models.values()]
            tables = [model._meta.db_table for model in (*kept, Words, Change, Reject, Answer, Job, Event)]
            tables += [one.partition.name for one in detached_of(registered(), using)]
            existing = sorted({*tables} & {*connection.introspection.table_names(cursor)})
            cursor.execute(f"VACUUM (SKIP_LOCKED) {', '.join(map(connection.ops.quote_name, existing))}")


def _has_newer(domain: Domain, user: str, using: str, until: datetime) -> bool:
    """Tell whether a user has newer records of a domain. If so, records without a time count as new too."""
    for kind, model in domain.models.items():
        for name in {kind.version_field, kind.time_field} - {None}:
            newer = {"user_id": user, f"{name}__gt": until}
            if model._base_manager.using(using).filter(**newer).exists():
                return True
    return False


def _erase_records(
    kind: type[Record], model: Any, user: str, using: str, until: datetime | None, *, timeless: bool
) -> list[Key]:
    rows = model._base_manager.using(using).filter(user_id=user)
    if until is None:
        keys: list[Key] = [tuple(key) for key in rows.values_list(*kind.key_fields)]
        rows.delete()
        return keys
    keys = [
        tuple(values[name] for name in kind.key_fields)
        for values in rows.values(*dict.fromkeys((*columns(kind), *kind.key_fields)))
        if _is_old(read_row(kind, open_values(kind, values, using)).record, until, timeless=timeless)
    ]
    for condition in by_keys(kind, keys):
        rows.filter(condition).delete()
    return keys


def _is_old(record: Record | None, until: datetime | None, *, timeless: bool = True) -> bool:
    moment = None if record is None else moment_in(record)
    return until is None or (timeless if moment is None else moment <= until)


def _erase_changes(domain: Domain, user: str, using: str, until: datetime | None) -> int:
    kinds = {kind.plural: kind for kind in domain.kinds}
    reader = StepReader(domain)
    rows = Change.objects.using(using).filter(domain=domain.name)
    found = rows.filter(contains("key", spellings(user)) | contains("before", spellings(user)))

    def is_to_be_erased(change: Change) -> bool:
        if user != owner_in_key(kinds.get(change.kind), change.key) and user not in _owners_in(change.before):
            return False
        return _is_old(_put(reader, change.before), until)

    return _delete(
        rows, (one.pk for one in found.only("kind", "key", "before").iterator(_BATCH) if is_to_be_erased(one))
    )


def _erase_rejects(domain: Domain, user: str, using: str) -> int:
    rows = Reject.objects.using(using).filter(domain=domain.name)
    place = re.compile(rf"{re.escape(path_to((user,)))}(?=$|[.\[])")
    is_under_users = domain.layout.owner_of(Entry(place=(user,))) == user

    def is_to_be_erased(reject: Reject) -> bool:
        is_under_user = is_under_users and place.match(reject.path) is not None
        return reject.owner == user or is_under_user or user in _owners_in(reject.original)

    needles = (*spellings(user), path_to((user,)))
    named = Q(owner=user) | contains("original", needles) | contains("path", needles)
    found = rows if is_sealing() else rows.filter(named)  # what is sealed cannot be searched
    return _delete(rows, (one.pk for one in found.iterator(_BATCH) if is_to_be_erased(one)))


def _delete(rows: models.QuerySet[Any], keys: Iterable[int]) -> int:
    return sum(rows.filter(pk__in=some).delete()[0] for some in batched(list(keys), _BATCH))


def _owners_in(text: str) -> list[str]:
    """Return the owners that a JSON text names, at its top or in the record of a step."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    outer = value if isinstance(value, dict) else {}
    inner = outer.get("record")
    return [one["userId"] for one in (outer, inner) if isinstance(one, dict) and isinstance(one.get("userId"), str)]


def _put(reader: StepReader, text: str) -> Record | None:
    try:
        step = next(reader.read([msgspec.Raw(text.encode())]))
    except OrbError:
        return None
    return step.record if isinstance(step, Put) else None


def rename(user: str, name: str, using: str) -> None:
    """Replace a user's id by a pseudonym in rows that stay: jobs, the audit log, runs and the results of policies."""
    renamed = _renaming(user, name)
    for model, names in (*_NOTES, *_notes_of_admin()):
        condition = Q()
        for one in names:
            condition |= contains(one, [user, json.dumps(user)[1:-1]])
        rows = model._base_manager.using(using).filter(condition)
        if model is Job:  # a queued job needs its original arguments
            rows = rows.exclude(state=JobState.QUEUED)
        for row in list(rows.only("pk", *names)):
            values = {one: renamed(getattr(row, one)) for one in names}
            changed = {one: value for one, value in values.items() if value != getattr(row, one)}
            if changed:
                model._base_manager.using(using).filter(pk=row.pk).update(**changed)


def _notes_of_admin() -> list[tuple[type[models.Model], tuple[str, ...]]]:
    is_there = apps.is_installed("django.contrib.admin")
    return [(apps.get_model("admin", "LogEntry"), _NOTES_OF_ADMIN)] if is_there else []


def _renaming(user: str, name: str) -> Callable[[Any], Any]:
    """Return a function that replaces an id by a name: as a value, in quotes, and at the beginning of a path."""
    place = re.compile(rf"{re.escape(path_to((user,)))}(?=$|[^A-Za-z0-9_-])")
    quoted = {json.dumps(user): json.dumps(name), json.dumps(user, ensure_ascii=False): json.dumps(name)}
    quoted[repr(user)] = repr(name)

    def renamed(value: Any) -> Any:
        match value:
            case str() if value == user:
                return name
            case str():
                for old, new in quoted.items():
                    value = value.replace(old, new)
                return place.sub("$.(erased)", value)
            case list():
                return [renamed(item) for item in value]
            case dict():
                return {renamed(key): renamed(item) for key, item in value.items()}
        return value

    return renamed
