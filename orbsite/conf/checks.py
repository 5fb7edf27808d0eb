"""System checks of the project, run by `manage.py check`."""

from __future__ import annotations

import shlex
import sqlite3
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import WARNING, CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, router

from orbsite.conf import app_settings
from orbsite.models.placement import USER, Placement, Table, tables
from orbsite.runtime.key_strength import estimated_bits
from orbsite.runtime.startup_checks import MAKE_A_KEY
from orbsite.storage.citus import PlacedTable, has_citus, placed_tables
from orbsite.storage.clock import utc_now
from orbsite.storage.partitions import Partition, is_partitioned, missing, partitions
from orbsite.storage.records.domain import registered
from orbsite.storage.records.record import columns
from orbsite.storage.sql.models import RecordRow

_FEWEST_BITS = 112
_OUR_ENGINE = "orbsite.runtime.sqlite"
_NEEDED = {"delete": 3, "truncate": 2, "persist": 2, "wal": 2}
"""The lowest `synchronous` level that keeps every commit, by journal_mode. Level 3 also syncs a journal's deletion."""
_SETTINGS: dict[Callable[[], object], str] = {
    app_settings.persistence: "orb.E002",
    app_settings.is_on_citus: "orb.E013",
    app_settings.packing: "orb.E012",
    app_settings.api_rate: "orb.E006",
    app_settings.token_max_open_jobs: "orb.E011",
    app_settings.token_max_jobs_per_day: "orb.E011",
    app_settings.token_max_bytes: "orb.E011",
    app_settings.keep_exports_days: "orb.E011",
    app_settings.notified_emails: "orb.E015",
    app_settings.webhook: "orb.E015",
}
"""The functions that raise ImproperlyConfigured for an invalid value, with the id of the check."""


@register("orb")
def check_columns(**_: Any) -> list[CheckMessage]:
    """Check that each table has a column for every field of its record."""
    return [
        Error(
            f"the table {model._meta.db_table} lacks a column for {', '.join(sorted(missing))} of {kind.__name__}",
            hint="Give the model the fields of its record.",
            id="orb.E001",
        )
        for domain in registered()
        for kind, model in domain.models.items()
        if (missing := set(columns(kind)) - {field.name for field in model._meta.get_fields()})
    ]


@register("orb")
def check_settings(**_: Any) -> list[CheckMessage]:
    """Check that the settings of the project have valid values."""
    found: list[CheckMessage] = []
    for read, number in _SETTINGS.items():
        try:
            read()
        except ImproperlyConfigured as problem:
            found.append(Error(str(problem), id=number))
    return found


@register("orb")
def check_project(**_: Any) -> list[CheckMessage]:
    """Check that the settings of the project, which may be another one than ours, do not contradict our apps."""
    found: list[CheckMessage] = []
    if not settings.USE_TZ:
        found.append(
            Error("USE_TZ is False", hint="Set USE_TZ = True: every time of a record has a zone.", id="orb.E020")
        )
    ours = [*apps.get_app_config("orbsite").get_models(), *(row for one in registered() for row in one.models.values())]
    moved = [model for model in ours if router.db_for_write(model) != DEFAULT_DB_ALIAS]
    if moved:
        found.append(
            Error(
                f"a database router sends {moved[0]._meta.label} away from the database 'default'",
                hint="Leave orbsite, luna and te there; SqlTeReflectionStore(using=ALIAS) opens a store in another.",
                id="orb.E021",
            )
        )
    return found


@register(Tags.security, deploy=True)
def check_key(**_: Any) -> list[CheckMessage]:
    """Warn where SECRET_KEY or ORB_BACKUP_KEY has too little entropy."""
    *of_backups, secret = app_settings.backup_keys()[: -len(settings.SECRET_KEY_FALLBACKS) or None]
    keys = [("SECRET_KEY", secret), *(("ORB_BACKUP_KEY", key) for key in of_backups)]
    return [
        CheckMessage(
            WARNING,
            f"{name} has less entropy than {_FEWEST_BITS} random bits",
            hint=f"Create a key with: {MAKE_A_KEY}",
            id="orb.W003",
        )
        for name, key in keys
        if estimated_bits(key) < _FEWEST_BITS
    ]


@register(Tags.security, deploy=True)
def check_parents(**_: Any) -> list[CheckMessage]:
    """Warn where every system user can replace the data directory, the backup directory or a database file."""
    places = {"ORB_DATA_DIR": app_settings.data_directory(), "ORB_BACKUP_DIR": app_settings.backup_directory()}
    for alias, database in settings.DATABASES.items():
        if "sqlite" in database["ENGINE"] and not connections[alias].is_in_memory_db():  # type: ignore[attr-defined]
            places[f"the database {alias!r}"] = Path(database["NAME"])
    return [
        CheckMessage(
            WARNING,
            f"{name} is under {parent}, which every user can write to",
            hint=f"Run: chmod o-w {shlex.quote(str(parent))}",
            id="orb.W004",
        )
        for name, place in places.items()
        for parent in writable_parents(place)
    ]


@register(Tags.database)
def check_origin(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Refuse databases that the earlier system created."""
    return [
        Error(
            f"the database {alias!r} has a table {table} that the earlier system made",
            hint="Set DATABASE_URL to a new one, run migrate, then import the old one: import_orb_database URL.",
            id="orb.E003",
        )
        for alias in databases or ()
        for table in _tables_of_the_earlier_system(alias)
    ]


@register(Tags.database)
def check_sqlite(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Check that SQLite commits survive a power failure and that the database file is private."""
    of_sqlite = [alias for alias in databases or () if connections[alias].vendor == "sqlite"]
    files = [alias for alias in of_sqlite if not connections[alias].is_in_memory_db()]  # type: ignore[attr-defined]
    return [message for alias in files for message in (*_of_engine(alias, _durability(alias)), *_privacy(alias))]


@register(Tags.database)
def check_placement(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Check that the tables are spread over the nodes of a cluster as ORB_SQL_ENGINE says."""
    try:
        is_expected = app_settings.is_on_citus()
    except ImproperlyConfigured:  # another check says so
        return []
    if DEFAULT_DB_ALIAS not in (databases or ()) or (not is_expected and not has_citus(connections[DEFAULT_DB_ALIAS])):
        return []
    placed = placed_tables(connections[DEFAULT_DB_ALIAS])
    wanted = [table for table in tables() if table.placement is not Placement.LOCAL]
    wrong = [f"{table.name} ({said})" for table in wanted if (said := _misplaced(table, placed.get(table.name)))]
    if is_expected and wrong:
        return [
            Error(
                f"ORB_SQL_ENGINE is citus, and tables are not placed so: {', '.join(wrong)}",
                hint="Run orb_scale_sql --engine citus, and then with --apply; unset ORB_SQL_ENGINE on one server.",
                id="orb.E014",
            )
        ]
    if not is_expected and len(wrong) < len(wanted):
        return [
            CheckMessage(
                WARNING,
                "tables are spread over the nodes of a cluster, and ORB_SQL_ENGINE does not say so",
                hint="Set ORB_SQL_ENGINE=citus, so that this check notices a table that a migration adds.",
                id="orb.W005",
            )
        ]
    return []


@register(Tags.database)
def check_partitions(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Check that tables that are partitioned by time have a partition for now and for the next period."""
    return [
        CheckMessage(
            WARNING,
            f"{one.table} in {alias!r} has no partition for times from {one.start:%Y-%m-%d} on",
            hint="Run run_orb_maintenance every day, or orb_scale_sql --engine partitions --apply once.",
            id="orb.W006",
        )
        for alias in databases or ()
        if connections[alias].vendor == "postgresql"
        for table in tables()
        if issubclass(table.model, RecordRow)
        for one in _absent_partitions(connections[alias], table.name)[:1]
    ]


def _absent_partitions(connection: Any, table: str) -> list[Partition]:
    """Return the partitions for now and for the next period that a partitioned table lacks."""
    known = partitions(connection, table) if is_partitioned(connection, table) else []
    if not known:
        return []
    now, period = utc_now(), known[-1].period
    return [one for one in missing(known, period, now, table) if one.start <= period.end(period.start(now))]


def _misplaced(table: Table, now: PlacedTable | None) -> str:
    """Return what is wrong with the placement of a table, or nothing."""
    if now is None or now.kind == "local":
        return f"on one node, not {table.placement}"
    if now.kind != table.placement:
        return f"{now.kind}, not {table.placement}"
    return f"distributed by {now.column}, not {USER}" if now.kind == "distributed" and now.column != USER else ""


def writable_parents(place: Path) -> list[Path]:
    """Return the parent directories in which every user may rename files: world-writable without a sticky bit."""
    above = dict.fromkeys((*place.absolute().parents, *place.resolve().parents))
    modes = {parent: parent.stat().st_mode for parent in above if parent.is_dir()}
    return [parent for parent, mode in modes.items() if mode & stat.S_IWOTH and not mode & stat.S_ISVTX]


def _of_engine(alias: str, found: Iterable[CheckMessage]) -> Iterable[CheckMessage]:
    """Yield the messages as warnings for a database whose backend another project has chosen."""
    is_ours = connections[alias].settings_dict["ENGINE"] == _OUR_ENGINE
    for one in found:
        yield one if is_ours else CheckMessage(WARNING, one.msg, hint=one.hint, id=(one.id or "").replace("E00", "W02"))


def _durability(alias: str) -> Iterable[CheckMessage]:
    journal, synchronous = _pragma(alias, "journal_mode"), _pragma(alias, "synchronous")
    if journal == "wal" and resets_wal(sqlite3.sqlite_version_info):
        yield Error(
            f"the database {alias!r} has a write-ahead log, which SQLite {sqlite3.sqlite_version} may corrupt",
            hint="Use SQLite 3.51.3 or newer, 3.50.7 or 3.44.6, or PRAGMA journal_mode=DELETE.",
            id="orb.E004",
        )
    needed = _NEEDED.get(journal)
    if needed is None or synchronous < needed:
        yield Error(
            f"the database {alias!r} may lose commits in a power failure: journal_mode is {journal} and "
            f"synchronous is {synchronous}",
            hint='Set "init_command" in its OPTIONS to "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;".',
            id="orb.E005",
        )


def resets_wal(version: tuple[int, ...]) -> bool:
    """Tell whether a version of SQLite may lose or corrupt a write-ahead log that it resets.

    SQLite's list of changes says that 3.51.3 fixes the error, and that 3.50.7 and 3.44.6 have the fix too.
    """
    return not (version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45))


def _privacy(alias: str) -> Iterable[CheckMessage]:
    path = Path(connections[alias].settings_dict["NAME"])
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield CheckMessage(
            WARNING,
            f"the database {alias!r} can be read by other users: {path}",
            hint=f"Run: chmod 600 {shlex.quote(str(path))}",
            id="orb.W001",
        )


def _pragma(alias: str, name: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"PRAGMA {name}")
        return cursor.fetchone()[0]


def _tables_of_the_earlier_system(alias: str) -> list[str]:
    connection = connections[alias]
    ours = {model._meta.db_table for domain in registered() for model in domain.models.values()}
    with connection.cursor() as cursor:
        existing = sorted(ours & set(connection.introspection.table_names(cursor)))
        columns = {table: connection.introspection.get_table_description(cursor, table) for table in existing}
    return [table for table, found in columns.items() if "digest" not in {column.name for column in found}]
