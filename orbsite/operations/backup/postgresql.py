"""Saves and restores a PostgreSQL database with pg_dump and pg_restore. They get the password from the environment."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import DatabaseError, transaction
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.errors import LockNotAvailable

from orbsite.operations.backup import postgresql_schema
from orbsite.operations.backup.manifest import counted, opened
from orbsite.storage.driver_errors import without_values
from orbsite.storage.errors import DocumentCorrupt, StoreUnavailable
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.partition_triggers import trigger_statements
from orbsite.storage.partitions import is_partitioned
from orbsite.storage.postgresql.session import DIRECT, direct_connection
from orbsite.storage.records.domain import registered
from orbsite.storage.retention.policy import retained
from orbsite.storage.sql.models import column_of

NAME = "database.dump"
INSTALLED = Path("/usr/lib/postgresql")
"""The directory in which Debian and its derivatives install the programs of each version."""
_MAGIC = b"PGDMP"
_PATIENCE = "20s"
_LONGEST_MESSAGE = 300


def save(connection: Any, directory: Directory) -> dict[str, int]:
    """Write all committed data as one snapshot, and return its row counts. Other sessions can go on writing."""
    program = find("pg_dump", connection.pg_version // 10_000)
    descriptor = directory.fs.create(NAME, directory.descriptor)
    try:
        with _one_moment(connection) as moment:
            options = [f"--snapshot={moment}"] if moment else []
            command = [str(program), "--format=custom", f"--lock-wait-timeout={_PATIENCE}", "--no-password", *options]
            _run(command, connection, "was not copied", stdout=descriptor)
            counts = counted(connection)
        directory.fs.sync(descriptor)
    finally:
        directory.close(descriptor)
    return counts


@contextlib.contextmanager
def _one_moment(connection: Any) -> Iterator[str]:
    """Hold a snapshot open, and yield its name for pg_dump; the name is empty in a transaction of the caller."""
    if connection.in_atomic_block:  # the caller's transaction has its own snapshot
        yield ""
        return
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_export_snapshot()")
        yield str(cursor.fetchone()[0])


def check(directory: Directory) -> None:
    """Raise DocumentCorrupt where the file is not a dump. Its checksum has shown that it is complete."""
    with opened(directory, NAME) as descriptor:
        if os.pread(descriptor, len(_MAGIC), 0) != _MAGIC:
            raise DocumentCorrupt(f"{directory.path / NAME} is no dump of pg_dump; nothing was written")


def unknown(connection: Any, directory: Directory) -> list[str]:
    """Return the statements of the dump that neither the migrations make nor the current database has."""
    server = connection.pg_version // 10_000
    schema = [str(find("pg_dump", server)), "--schema-only", "--no-owner", "--no-password"]
    with _written_by(schema, connection, subprocess.DEVNULL) as lines:
        now = {*postgresql_schema.statements(lines), *_of_partitions()}
    script = [str(find("pg_restore", server)), "--no-owner", "--file=-"]
    with opened(directory, NAME) as descriptor, _written_by(script, connection, descriptor) as lines:
        return list(postgresql_schema.unknown(lines, _tables(connection), now))


def _of_partitions() -> Iterator[str]:
    """Yield the statements for the triggers of tables that are partitioned by time."""
    for model in _timed_models():
        key = [str(column_of(model, name).column) for name in model.kind.key_fields]
        statements = trigger_statements("public", str(model._meta.db_table), key)
        yield from postgresql_schema.statements(f"{line};\n" for line in statements)


def _timed_models() -> Iterator[Any]:
    for domain in registered():
        yield from (domain.models[kind] for kind in retained(domain))


@contextlib.contextmanager
def _written_by(command: list[str], connection: Any, stdin: int) -> Iterator[Iterator[str]]:
    """Run a program that writes a script, and yield its lines. Raises StoreUnavailable."""
    environment = _environment(connection)
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=errors) as process,  # noqa: S603 -- our own arguments, no shell
    ):
        output: Any = process.stdout
        yield (line.decode("utf-8", "surrogateescape") for line in output)
        output.read()  # drained, so that the program can exit
        if process.wait():
            errors.seek(0)
            name = connection.settings_dict["NAME"]
            raise StoreUnavailable(f"the schema of {name} or of the backup cannot be read: {_reason(errors.read())}")


def _tables(connection: Any) -> set[str]:
    """Return the tables of all models and all tables of the database."""
    models = apps.get_models(include_auto_created=True)
    return {"django_migrations", *(model._meta.db_table for model in models), *connection.introspection.table_names()}


def load(connection: Any, directory: Directory) -> None:
    """Replace everything in the database with the dump, in one transaction."""
    program = find("pg_restore", connection.pg_version // 10_000)
    _refuse_where_busy(connection)
    _refuse_partitions(connection)
    options = ["--clean", "--if-exists", "--single-transaction", "--no-owner", "--exit-on-error", "--no-password"]
    where = {name: value for name, value in _parameters(connection).items() if name in ("dbname", "service")}
    with opened(directory, NAME) as descriptor:
        command = [str(program), *options, f"--dbname={make_conninfo(**where)}"]
        _run(command, connection, "was not restored and is unchanged", stdin=descriptor)


def find(name: str, server: int) -> Path:
    """Return the oldest program that is not older than the server. The server may refuse the dump of a newer one.

    Raises StoreUnavailable.
    """
    versions = {path: _version(path) for path in _candidates(name)}
    fit = [path for path, version in versions.items() if version >= server]
    if fit:
        return min(fit, key=lambda path: versions[path])
    newest = max(versions.values(), default=0)
    raise StoreUnavailable(
        f"{f'{name} {newest} is too old' if newest else f'there is no {name}'} for the PostgreSQL {server} server; "
        f"install postgresql-client-{server} or newer, or put {name} on PATH. To go on without the database: "
        "--no-database, or, where another operation makes the backup, --no-backup"
    )


def _candidates(name: str) -> Iterator[Path]:
    yield from sorted(INSTALLED.glob(f"*/bin/{name}"))
    for directory in os.get_exec_path():
        found = shutil.which(name, path=directory) if directory else None
        if found:
            yield Path(found)


def _version(program: Path) -> int:
    """Return the major version that a program reports; 0 where it does not run."""
    try:
        completed = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 -- found above
    except OSError:
        return 0
    match = re.search(r"\(PostgreSQL\) (\d+)", completed.stdout)
    return int(match[1]) if match else 0


def _run(
    command: list[str],
    connection: Any,
    failed: str,
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> None:
    environment = _environment(connection)
    done = subprocess.run(  # noqa: S603 -- our own arguments, no shell
        command, env=environment, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        what = f"the database {connection.settings_dict['NAME']} {failed}"
        raise StoreUnavailable(f"{what}: {_reason(done.stderr)}; fix the cause, then retry")


def _reason(errors: bytes) -> str:
    """Return the first error, without the row values that the server's message may quote."""
    lines = errors.decode(errors="replace").splitlines()
    first = next((line for line in lines if "error:" in line), "the program ended without an error message")
    before, mark, message = first.partition("ERROR:")
    first = f"{before}{mark} {without_values(message.strip())}" if mark else first
    return first.encode("ascii", "backslashreplace").decode()[:_LONGEST_MESSAGE]


def _parameters(connection: Any) -> dict[str, str]:
    """Return the parameters of libpq for a session of its own: past a pooler, also in a transaction of the caller."""
    if DIRECT in connection.settings_dict:
        connection = direct_connection(connection)
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    return {
        name: str(value)
        for name, value in connection.get_connection_params().items()
        if name in known and value is not None
    }


def _environment(connection: Any) -> dict[str, str]:
    """Return the environment of this process with the connection parameters for libpq."""
    variables = {option.keyword.decode(): option.envvar for option in pq.Conninfo.get_defaults()}
    ours = {variables[name]: value for name, value in _parameters(connection).items()}
    return dict(os.environ) | {name.decode(): value for name, value in ours.items() if name}


def _refuse_partitions(connection: Any) -> None:
    """Raise StoreUnavailable where a table is partitioned, because pg_restore cannot replace it in one transaction."""
    parted = [model._meta.db_table for model in _timed_models() if is_partitioned(connection, model._meta.db_table)]
    if parted:
        raise StoreUnavailable(
            f"{', '.join(parted)} of {connection.settings_dict['NAME']} is partitioned, and a restore cannot replace "
            "it; nothing was changed. Make a new database, migrate it, restore into it, and set DATABASE_URL to it"
        )


def _refuse_where_busy(connection: Any) -> None:
    """Raise StoreUnavailable where other sessions lock tables, which would block the restore without end."""
    names = [connection.ops.quote_name(table) for table in connection.introspection.table_names()]
    if not names:
        return
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
            cursor.execute(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")
    except DatabaseError as problem:
        if not isinstance(problem.__cause__, LockNotAvailable):
            raise
        raise StoreUnavailable(
            f"other sessions lock tables of {connection.settings_dict['NAME']}; nothing was changed. "
            "Stop the servers that use it, then retry"
        ) from problem
