"""What is told of an error of a database driver has its code and no value of a row, on each database."""

from __future__ import annotations

import logging
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, connections, transaction

from orbsite.management import tracebacks
from orbsite.operations.jobs.jobs import run_job
from orbsite.runtime.json_logging import JSONLines
from orbsite.storage.driver_errors import driver_message, without_values
from orbsite.storage.errors import OrbError
from orbsite.storage.sql.retry import TransactionRetry
from tests.support.scratch import scratch

CANARY = "diagnosis-4f1c"
on_servers = pytest.mark.django_db(transaction=True, databases="__all__")
TABLE = "CREATE TABLE notes_of_users (id integer PRIMARY KEY, name text UNIQUE, age integer NOT NULL CHECK (age > 0))"


@pytest.fixture
def sqlite_alias(tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    with django_db_blocker.unblock(), scratch(tmp_path / "db", timeout=0) as alias:
        yield alias


@pytest.fixture(params=["sqlite_alias", pytest.param("postgresql_alias", marks=on_servers)])
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    alias = request.getfixturevalue(request.param)
    with connections[alias].cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS notes_of_users")
        cursor.execute(TABLE)
    yield alias
    with connections[alias].cursor() as cursor:
        cursor.execute("DROP TABLE notes_of_users")


def _problem(alias: str, act: Callable[[Any], Any]) -> BaseException:
    with (
        pytest.raises((DatabaseError, psycopg.Error)) as caught,
        transaction.atomic(alias),
        connections[alias].cursor() as cursor,
    ):
        act(cursor)
    return caught.value


def _executed(*statements: str) -> Callable[[Any], Any]:
    def act(cursor: Any) -> None:
        for statement in statements:
            cursor.execute(statement)
            cursor.fetchall() if cursor.description else None

    return act


def _read_strictly(cursor: Any) -> None:
    """Read text that is no UTF-8 as Python does where it is told nothing else."""
    cursor.connection.text_factory = str
    cursor.execute(f"SELECT CAST(x'{CANARY.encode().hex()}ff' AS TEXT) AS name")
    cursor.fetchall()


def _copied(line: str) -> Callable[[Any], Any]:
    def act(cursor: Any) -> None:
        with cursor.copy("COPY notes_of_users (id, name, age) FROM STDIN") as copy:
            copy.write(line)

    return act


INSERT = "INSERT INTO notes_of_users (id, name, age)"
ON_BOTH = {
    "a unique key": (_executed(f"{INSERT} VALUES (1, '{CANARY}', 1), (2, '{CANARY}', 1)"), "name"),
    "no null": (_executed(f"{INSERT} VALUES (1, '{CANARY}', NULL)"), "age"),
    "a check": (_executed(f"{INSERT} VALUES (1, '{CANARY}', -1)"), "constraint"),
    "a missing table": (_executed("SELECT * FROM nowhere_at_all"), "nowhere_at_all"),
    "a syntax": (_executed(f'SELECT 1 "{CANARY}" "{CANARY}"'), ""),
    "a name that is a value": (_executed(f"SELECT * FROM notes_of_users WHERE '{CANARY}"), ""),
}
ON_POSTGRESQL = {
    "COPY of text for a number": (_copied(f"1\t{CANARY}\t{CANARY}\n"), "22P02"),
    "COPY of too many columns": (_copied(f"1\t{CANARY}\t1\t{CANARY}\n"), "22P04"),
    "COPY of a known key": (_copied(f"1\t{CANARY}\t1\n1\t{CANARY}\t2\n"), "23505"),
    "no JSON": (_executed(f"""SELECT '{{"a": {CANARY}}}'::jsonb"""), "22P02"),
    "an integer": (_executed(f"SELECT '{CANARY}'::integer"), "22P02"),
    "a time": (_executed(f"SELECT '{CANARY}'::timestamptz"), "22007"),
    "a range": (_executed("SELECT '99999999999'::integer"), "22003"),
    "a character": (_executed(f"""SELECT '{{"a": "{CANARY}\\u0000"}}'::jsonb"""), "22P05"),
    "a regular expression": (_executed(f"SELECT 'a' ~ '({CANARY}'"), "2201B"),
    "a search": (_executed(f"SELECT to_tsquery('{CANARY} &')"), "42601"),
    "a function of the database": (_executed(f"DO $$BEGIN RAISE '{CANARY}'; END$$"), "P0001"),
    "a datatype": (_executed(f"INSERT INTO notes_of_users (age) VALUES ('{CANARY}'::text)"), "42804"),
    "an enum": (_executed("CREATE TYPE mood AS ENUM ('a')", f"SELECT '{CANARY}'::mood"), "22P02"),
    "a function that gives a code": (_executed(f"DO $$BEGIN RAISE '{CANARY}' USING ERRCODE = '23505'; END$$"), "23505"),
}
ON_SQLITE = {
    "no UTF-8": (_read_strictly, "Could not decode"),
    "a trigger": (
        _executed(
            f"CREATE TRIGGER one BEFORE INSERT ON notes_of_users BEGIN SELECT RAISE(ABORT, '{CANARY}'); END",
            f"{INSERT} VALUES (1, 'a', 1)",
        ),
        "SQLITE_CONSTRAINT_TRIGGER",
    ),
    "a search": (
        _executed("CREATE VIRTUAL TABLE w USING fts5(t)", f"SELECT * FROM w WHERE w MATCH '{CANARY} \"'"),
        "SQLITE_ERROR",
    ),
    "a column of a search": (
        _executed("CREATE VIRTUAL TABLE w USING fts5(t)", "SELECT * FROM w WHERE w MATCH 'diagnosis4f1c : a'"),
        "no such column",
    ),
    "a datatype": (_executed(f"{INSERT} VALUES ('{CANARY}', 'a', 1)"), "datatype mismatch"),
    "JSON": (_executed(f"SELECT json_extract('{{}}', '{CANARY}')"), "SQLITE_ERROR"),
}


def _shown(problem: BaseException) -> str:
    """Return everything that is shown of an error: the message, its traceback, and the lines of a log."""
    try:
        raise RuntimeError("on the way") from problem
    except RuntimeError as later:
        record = logging.getLogger("tests").makeRecord(
            "tests", logging.ERROR, "f", 1, "it failed: %s, %r", (problem, problem), sys.exc_info()
        )
        return driver_message(problem) + "".join(tracebacks.lines_of(later)) + JSONLines().format(record)


def _check(alias: str, act: Callable[[Any], Any], told: str) -> None:
    problem = _problem(alias, act)
    shown = _shown(problem)
    assert CANARY not in shown
    assert CANARY.replace("-", "") not in shown
    assert "DETAIL" not in shown
    assert "CONTEXT" not in shown
    message = driver_message(problem)
    assert told in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", ON_BOTH)
def test_an_error_names_what_it_is_about_and_no_value(alias: str, name: str) -> None:
    _check(alias, *ON_BOTH[name])


@on_servers
@pytest.mark.parametrize("name", ON_POSTGRESQL)
def test_an_error_of_postgresql_has_its_code_and_no_value(postgresql_alias: str, name: str) -> None:
    with connections[postgresql_alias].cursor() as cursor:
        cursor.execute(TABLE)
    try:
        _check(postgresql_alias, *ON_POSTGRESQL[name])
    finally:
        with connections[postgresql_alias].cursor() as cursor:
            cursor.execute("DROP TABLE notes_of_users")


@pytest.mark.parametrize("name", ON_SQLITE)
def test_an_error_of_sqlite_has_its_code_and_no_value(sqlite_alias: str, name: str) -> None:
    with connections[sqlite_alias].cursor() as cursor:
        cursor.execute(TABLE)
    _check(sqlite_alias, *ON_SQLITE[name])


def test_a_save_that_is_refused_tells_no_value(alias: str) -> None:
    def save() -> None:
        with connections[alias].cursor() as cursor:
            if connections[alias].vendor == "sqlite":
                _read_strictly(cursor)
            else:
                cursor.execute(f"DO $$BEGIN RAISE '{CANARY}' USING ERRCODE = '57014'; END$$")

    with pytest.raises(OrbError) as caught:
        TransactionRetry(alias).run(save)
    assert CANARY not in str(caught.value)
    assert CANARY not in "".join(tracebacks.lines_of(caught.value))


def test_of_a_connection_the_reason_is_told_and_no_password() -> None:
    refused = psycopg.OperationalError(f'connection failed: could not resolve "ana:{CANARY}@host"\n\tIs it running?')
    assert driver_message(refused) == 'connection failed: could not resolve "…@host" Is it running?'
    for text in (f'missing "=" after "postgres://u:{CANARY}@h" in connection info string', f'no option "{CANARY}"'):
        assert CANARY not in driver_message(psycopg.ProgrammingError(text))


@pytest.mark.parametrize(
    "text", [f'value "{CANARY}" is bad', f"wert „{CANARY}“", f"x: {CANARY}", f"x\n{CANARY}", f"[{CANARY}"]
)
def test_a_message_ends_where_it_quotes(text: str) -> None:
    assert CANARY not in without_values(text)


def test_an_error_that_django_makes_of_a_row_is_told_by_its_type() -> None:
    problem = IntegrityError(f"The row in table 'a' with primary key '1' contains a value '{CANARY}'")
    assert driver_message(problem) == "IntegrityError"
    assert driver_message(OrbError("ours")) == "ours"


def _fail(*_: Any, **__: Any) -> Any:
    cause = sqlite3.OperationalError(f"Could not decode to UTF-8 column 'input' with text '{CANARY}'")
    raise DatabaseError(*cause.args) from cause


@pytest.mark.django_db
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_command_prints_no_value(monkeypatch: pytest.MonkeyPatch, form: str, data_dir: Path) -> None:
    monkeypatch.setattr("orbsite.operations.jobs.catalog.verify", _fail)
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command("verify_orb_files", "--data-dir", str(data_dir), "--format", form, stdout=out)
    assert "Could not decode to UTF-8 column" in str(caught.value)
    assert CANARY not in str(caught.value) + out.getvalue()


@pytest.mark.parametrize("is_thread", [False, True])
def test_an_error_that_ends_a_process_or_a_thread_prints_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, is_thread: bool
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    tracebacks.install()
    if is_thread:
        thread = threading.Thread(target=_fail, name="a-thread")
        thread.start()
        thread.join()
    else:
        try:
            _fail()
        except DatabaseError as problem:
            sys.excepthook(type(problem), problem, problem.__traceback__)
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert "Could not decode to UTF-8 column" in printed
    assert CANARY not in printed


def test_a_queue_is_told_no_value_by_a_task_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import traceback

    monkeypatch.setattr("orbsite.operations.jobs.jobs.execute", _fail)
    with pytest.raises(OrbError) as caught:
        run_job.func(5)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
