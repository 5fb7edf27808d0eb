"""Single cells of a source database that no record can hold."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from orbsite.models.ledger import Reject
from tests.management.test_commands import run
from tests.support.own_databases import own_database, own_name

pytestmark = pytest.mark.django_db

REFLECTIONS = (
    "CREATE TABLE te_reflections (id PRIMARY KEY, user_id, session_id, input, output, tags, notes, created_at)"
)
PROFILES = "CREATE TABLE luna_profiles (user_id, mode_id, preferences, constraints, updated_at)"
CANARY = "my-secret-diagnosis"


def made(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(REFLECTIONS)
        connection.execute(PROFILES)
        connection.executemany(
            "INSERT INTO te_reflections VALUES (?, 'ana', 's', ?, 'out', '[\"a\"]', NULL, '2024-01-01T00:00:00.000Z')",
            [(f"r{at}", f"{CANARY} {at}") for at in range(5)],
        )
        connection.executemany(
            "INSERT INTO luna_profiles VALUES ('ana', ?, '[\"calm\"]', '[]', '2024-01-01T00:00:00.000Z')",
            [(f"m{at}",) for at in range(5)],
        )
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


BAD = {
    "te_reflections": {
        "input": ["CAST(x'6162ff' AS TEXT)", "x'6162ff'", "x'6162'", "7", "0.5", "NULL", "CAST(x'eda080' AS TEXT)"],
        "output": ["CAST(x'ff' AS TEXT)", "x'00'", "9e999"],
        "notes": ["CAST(x'c3' AS TEXT)", "x'41'", "1"],
        "tags": ["CAST(x'5b22ff225d' AS TEXT)", "x'5b5d'", "'no list'", "'[1]'", "'{}'", "'[\"a\"], 1'", "NULL", "1"],
        "session_id": ["CAST(x'ff' AS TEXT)", "x'41'", "''", "5"],
        "user_id": ["CAST(x'ff' AS TEXT)", "x'41'", "NULL", "''"],
        "id": ["CAST(x'ff' AS TEXT)", "x'41'", "NULL", "''", "3"],
        "created_at": [
            "1704067200000",
            "'soon'",
            "'infinity'",
            "'01/02/2024'",
            "NULL",
            "x'41'",
            "'-000043-01-01T00:00:00Z'",
        ],
    },
    "luna_profiles": {
        "preferences": ["CAST(x'5b22ff225d' AS TEXT)", "x'5b5d'", "'[1]'", "NULL", "'[' || char(0) || ']'"],
        "constraints": ["CAST(x'5b22ff225d' AS TEXT)", "'[{\"id\": 1}]'", "NULL"],
        "mode_id": ["CAST(x'ff' AS TEXT)", "NULL", "x'41'"],
        "updated_at": ["1704067200", "'soon'", "NULL"],
    },
}
CELLS = [(table, column, cell) for table, columns in BAD.items() for column, cells in columns.items() for cell in cells]


@pytest.mark.parametrize(("table", "column", "cell"), CELLS)
def test_one_bad_cell_is_one_rejected_row(tmp_path: Path, table: str, column: str, cell: str) -> None:
    which = "id = 'r1'" if table == "te_reflections" else "mode_id = 'm1'"
    source = made(tmp_path / "old.db", f"UPDATE {table} SET {column} = {cell} WHERE {which}")
    code, dry = run("import_orb_database", source, "--dry-run")
    assert code == 1
    code, report = run("import_orb_database", source, "--no-backup")
    kinds = {name: kind for part in report["domains"].values() for name, kind in part["kinds"].items()}
    bad, good = ("reflections", "profiles") if table == "te_reflections" else ("profiles", "reflections")
    assert code == 1
    assert (kinds[bad]["new"], kinds[bad]["rejected"]) == (4, 1)
    assert (kinds[good]["new"], kinds[good]["rejected"]) == (5, 0)
    told = [one for one in report["findings"] if one["severity"] == "error"]
    assert told
    assert all(one["path"].startswith(f"$.{table}") for one in told)
    assert CANARY not in json.dumps(report) + json.dumps(dry["findings"])
    (reject,) = Reject.objects.filter(run=report["run"])
    json.loads(reject.original)
    code, again = run("import_orb_database", source, "--no-backup")
    assert (code, again["domains"]["te"]["new"]) == (1, 0)


@pytest.mark.parametrize(
    ("cell", "kept"),
    [("CAST(x'6162ff' AS TEXT)", {"text": b"ab\xff"}), ("x'6162ff'", {"blob": b"ab\xff"})],
)
def test_a_rejected_row_keeps_its_bytes(tmp_path: Path, cell: str, kept: dict[str, bytes]) -> None:
    source = made(tmp_path / "old.db", f"UPDATE te_reflections SET input = {cell} WHERE id = 'r1'")
    _, report = run("import_orb_database", source, "--no-backup")
    original = json.loads(Reject.objects.get(run=report["run"]).original)
    assert {name: base64.b64decode(text) for name, text in original["input"].items()} == kept
    assert (original["id"], original["tags"]) == ("r1", ["a"])


def test_many_bad_cells_are_told_one_by_one(tmp_path: Path) -> None:
    source = made(
        tmp_path / "old.db",
        "UPDATE te_reflections SET input = CAST(x'ff' AS TEXT) WHERE id IN ('r0', 'r2')",
        "UPDATE te_reflections SET notes = zeroblob(40000000) WHERE id = 'r3'",
        "UPDATE te_reflections SET tags = CAST(x'ff' AS TEXT), notes = x'00' WHERE id = 'r4'",
    )
    code, report = run("import_orb_database", source, "--no-backup", "--only", "te")
    paths = {one["path"] for one in report["findings"]}
    assert (code, report["domains"]["te"]["new"], report["domains"]["te"]["rejected"]) == (1, 1, 4)
    assert paths == {
        f"$.te_reflections.ana.{key}" for key in ("r0.input", "r2.input", "r3.notes", "r4.tags", "r4.notes")
    }


@pytest.mark.parametrize("cell", ["x'41'", "CAST(x'ff' AS TEXT)", "9e999", "9007199254740993"])
def test_an_unknown_key_that_no_json_holds_rejects_its_row(tmp_path: Path, cell: str) -> None:
    source = made(
        tmp_path / "old.db",
        "ALTER TABLE te_reflections ADD COLUMN score",
        f"UPDATE te_reflections SET score = {cell} WHERE id = 'r1'",
    )
    code, report = run("import_orb_database", source, "--no-backup", "--only", "te")
    assert (code, report["domains"]["te"]["new"], report["domains"]["te"]["rejected"]) == (1, 4, 1)
    assert report["findings"][0]["path"] == "$.te_reflections.ana.r1.score"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-01T12:00:00+02:00", "2024-01-01 10:00:00"),
        ("2024-01-01 10:00:00", "2024-01-01 10:00:00"),
        ("20240101T100000Z", "2024-01-01 10:00:00"),
        ("2024-01-01T10:00:00.1234567Z", "2024-01-01 10:00:00.123456"),
    ],
)
def test_any_iso_8601_time_is_read(tmp_path: Path, text: str, moment: str) -> None:
    source = made(tmp_path / "old.db", f"UPDATE te_reflections SET created_at = '{text}' WHERE id = 'r1'")
    code, _ = run("import_orb_database", source, "--no-backup", "--only", "te")
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT created_at FROM te_reflections WHERE id = 'r1'")
        assert (code, str(cursor.fetchone()[0])) == (0, moment)


def test_a_list_cannot_smuggle_a_member_into_its_row(tmp_path: Path) -> None:
    source = made(tmp_path / "old.db", """UPDATE te_reflections SET tags = '[],"notes":"x"' WHERE id = 'r1'""")
    code, report = run("import_orb_database", source, "--no-backup", "--only", "te")
    assert (code, report["domains"]["te"]["rejected"]) == (1, 1)


def test_of_two_rows_with_one_key_the_first_counts(tmp_path: Path) -> None:
    source = tmp_path / "old.db"
    row = "('a', 'ana', 's', '{}', 'o', '[]', NULL, '2024-01-01T00:00:00Z')"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute(REFLECTIONS.replace(" PRIMARY KEY", ""))
        for text in ("one", "one", "two"):
            connection.execute(f"INSERT INTO te_reflections VALUES {row.format(text)}")
        connection.commit()
    code, report = run("import_orb_database", source, "--no-backup", "--only", "te")
    counts = report["domains"]["te"]
    assert (code, counts["new"], counts["unchanged"], counts["rejected"]) == (1, 1, 1, 1)


def test_a_column_without_room_in_its_record_is_told_of(tmp_path: Path) -> None:
    source = made(
        tmp_path / "old.db",
        "CREATE TABLE luna_active_modes (user_id TEXT PRIMARY KEY, mode_id TEXT, updated_at TEXT, set_by TEXT)",
        "INSERT INTO luna_active_modes VALUES ('ana', 'm1', '2024-01-01T00:00:00Z', 'hand')",
    )
    code, report = run("import_orb_database", source, "--no-backup", "--only", "luna")
    assert (code, report["domains"]["luna"]["kinds"]["active_modes"]["new"]) == (0, 1)
    assert [one["message"] for one in report["findings"]] == [
        "active_modes have no room for the column set_by, which was left out of each"
    ]


@pytest.fixture
def hosted(postgresql_alias: str) -> Iterator[Any]:
    """A connection to an empty database, and its address."""
    import psycopg

    with own_database() as url, psycopg.connect(url, autocommit=True) as connection:
        yield connection, url


HOSTED = (
    "CREATE TABLE te_reflections (id text PRIMARY KEY, user_id text, session_id text, input text, output text, "
    "tags jsonb, notes text, created_at timestamptz, score real, recommendations jsonb, summary text, exact numeric)"
)


def fill(connection: Any) -> None:
    connection.execute(HOSTED)
    for at in range(5):
        connection.execute(
            "INSERT INTO te_reflections VALUES (%s, 'ana', 's', 'i', 'o', '[\"t\"]', NULL, '2024-01-01 10:00+00')",
            [f"r{at}"],
        )


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("created_at", "'infinity'"),
        ("created_at", "'-infinity'"),
        ("created_at", "'0044-03-15 BC'"),
        ("created_at", "'10000-01-01'"),
        ("created_at", "NULL"),
        ("score", "'NaN'"),
        ("score", "'Infinity'"),
        ("exact", "'NaN'"),
        ("exact", "0.12345678901234567890123"),
        ("exact", "9007199254740993"),
        ("tags", "'{}'"),
        ("tags", "'[1]'"),
        ("tags", "'\"x\"'"),
        ("tags", "NULL"),
        ("input", "NULL"),
        ("user_id", "NULL"),
        ("recommendations", "'[1e400]'"),
    ],
)
def test_one_bad_cell_of_postgresql_is_one_rejected_row(hosted: Any, column: str, cell: str) -> None:
    connection, url = hosted
    fill(connection)
    connection.execute(f"UPDATE te_reflections SET {column} = {cell} WHERE id = 'r1'")
    code, report = run("import_orb_database", url, "--no-backup", "--only", "te")
    assert (code, report["domains"]["te"]["new"], report["domains"]["te"]["rejected"]) == (1, 4, 1)
    owner = "null" if column == "user_id" else "ana"
    assert report["findings"][0]["path"].startswith(f"$.te_reflections.{owner}.r1.")
    json.loads(Reject.objects.get(run=report["run"]).original)


def test_what_a_hosted_store_adds_comes_over_as_unknown_keys(hosted: Any) -> None:
    connection, url = hosted
    fill(connection)
    connection.execute(
        """UPDATE te_reflections SET score = 0.1, recommendations = '["rest", {"n": 1}]', summary = '[short]', """
        "exact = 12345678901 WHERE id = 'r1'"
    )
    code, report = run("import_orb_database", url, "--no-backup", "--only", "te")
    assert (code, report["domains"]["te"]["new"]) == (0, 5)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT extra FROM te_reflections WHERE id = 'r1'")
        assert json.loads(cursor.fetchone()[0]) == {
            "score": 0.1,
            "recommendations": ["rest", {"n": 1}],
            "summary": "[short]",
            "exact": 12345678901,
        }


@pytest.mark.parametrize(("encoding", "taken"), [("LATIN1", 2), ("SQL_ASCII", 1), ("WIN1252", 2), ("UTF8", 2)])
@pytest.mark.usefixtures("postgresql_alias")
def test_texts_come_over_from_any_encoding(encoding: str, taken: int) -> None:
    import psycopg

    options = f"ENCODING '{encoding}' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with own_database(options) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            fill(connection)
            connection.execute("DELETE FROM te_reflections WHERE id > 'r1'")
            text = "convert_from(%s::bytea, 'SQL_ASCII')" if encoding == "SQL_ASCII" else "%s"
            cell = b"caf\xe9" if encoding == "SQL_ASCII" else "café"
            connection.execute(f"UPDATE te_reflections SET input = {text} WHERE id = 'r1'", [cell])
        code, report = run("import_orb_database", url, "--no-backup", "--only", "te")
    assert (code, report["domains"]["te"]["new"], report["domains"]["te"]["rejected"]) == (2 - taken, taken, 2 - taken)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT input FROM te_reflections WHERE id = 'r1'")
        assert cursor.fetchall() == [("café",)] * (taken - 1)


@pytest.mark.parametrize("is_forced", [False, True])
def test_hidden_rows_are_an_error_and_an_owner_gets_them_all(hosted: Any, is_forced: bool) -> None:
    connection, url = hosted
    owner = own_name("owner")
    connection.execute(f"CREATE ROLE {owner} LOGIN")
    connection.execute(f"GRANT ALL ON SCHEMA public TO {owner}")
    fill(connection)
    connection.execute(f"ALTER TABLE te_reflections OWNER TO {owner}")
    connection.execute("CREATE POLICY own ON te_reflections USING (user_id = current_setting('app.user', true))")
    connection.execute("ALTER TABLE te_reflections ENABLE ROW LEVEL SECURITY")
    if is_forced:
        connection.execute("ALTER TABLE te_reflections FORCE ROW LEVEL SECURITY")
    owned = url.replace("postgresql://orb@", f"postgresql://{owner}@")
    code, report = run("import_orb_database", owned, "--no-backup", "--only", "te")
    if is_forced:
        told = report["findings"][0]["message"]
        assert code == 2
        assert "row-level security" in told
        assert "te_reflections" in told
        assert owner in told
        assert "BYPASSRLS" in told
        code, report = run("import_orb_database", url, "--no-backup", "--only", "te")
    assert (code, report["domains"]["te"]["new"]) == (0, 5)


@pytest.mark.parametrize(
    "grant", ["", "GRANT SELECT ON te_reflections TO {reader}", "REVOKE ALL ON SCHEMA public FROM PUBLIC"]
)
def test_a_role_without_rights_is_an_error(hosted: Any, grant: str) -> None:
    connection, url = hosted
    reader = own_name("reader")
    connection.execute(f"CREATE ROLE {reader} LOGIN")
    fill(connection)
    connection.execute("ALTER TABLE te_reflections ENABLE ROW LEVEL SECURITY")
    if grant:
        connection.execute(grant.format(reader=reader))
    code, report = run(
        "import_orb_database",
        url.replace("postgresql://orb@", f"postgresql://{reader}@"),
        "--no-backup",
        "--only",
        "te",
    )
    assert code == 2
    assert "te_reflections" in report["findings"][0]["message"]
    assert reader in report["findings"][0]["message"]
    assert report["domains"] == {}
