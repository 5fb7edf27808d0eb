"""What a backup has that runs on its own is not restored, and a backup that somebody has changed is not trusted."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from orbsite.operations.backup import database, postgresql, postgresql_schema, sqlite_schema
from orbsite.operations.backup.create import backup
from orbsite.operations.backup.restore import restore
from orbsite.storage.errors import DocumentCorrupt, OrbError
from orbsite.storage.records.domain import registered
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from tests.support.factories import ReflectionFactory

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.slow]
MOMENT = datetime(2026, 11, 23, 4, 54, 29, tzinfo=UTC)


def now() -> datetime:
    return MOMENT


@pytest.fixture
def made(alias: str, tmp_path: Path) -> Path:
    SqlStore(TE, alias).put([ReflectionFactory(id="a")])
    path = backup(registered(["te"]), None, tmp_path / "to", now=now, using=alias).backup
    assert path is not None
    return path


def _back(path: Path, alias: str = "default", **options: Any) -> Any:
    return restore(registered(["te"]), path, base=path / "none", now=now, using=alias, **{"apply": True, **options})


def _fit(path: Path, *, is_signed: bool) -> None:
    """Make the sums fit what is there, as somebody does who has no key."""
    tree = json.loads((path / "manifest.json").read_bytes())
    file = tree["database"]["file"]
    data = (path / file["name"]).read_bytes()
    file.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    manifest = json.dumps(tree).encode()
    (path / "manifest.json").write_bytes(manifest)
    lines = (path / "SHA256SUMS").read_text().splitlines()
    sums = [f"{file['sha256']}  {file['name']}", f"{hashlib.sha256(manifest).hexdigest()}  manifest.json"]
    kept = [line for line in lines if is_signed and line.startswith("#")]
    (path / "SHA256SUMS").write_text("".join(f"{line}\n" for line in [*kept, *sums]))


PLANTED = {
    "a trigger": "CREATE TRIGGER planted AFTER INSERT ON te_reflections BEGIN DELETE FROM luna_profiles; END",
    "a trigger of a known name": "DROP TRIGGER orb_words_added; CREATE TRIGGER orb_words_added AFTER INSERT ON orb_words "
    "BEGIN DELETE FROM te_reflections; END",
    "a view": "CREATE VIEW planted AS SELECT * FROM auth_user",
    "a table": "CREATE TABLE planted (a)",
    "an index": "CREATE UNIQUE INDEX planted ON te_reflections (session_id)",
    "a column": "ALTER TABLE te_reflections ADD COLUMN planted text",
    "a generated column": "ALTER TABLE te_reflections ADD COLUMN planted text GENERATED ALWAYS AS (upper(input))",
    "a view for a table": "DROP TABLE luna_active_modes; CREATE VIEW luna_active_modes AS SELECT 1 AS user_id",
    "a virtual table": "CREATE VIRTUAL TABLE planted USING fts5(a)",
}


@pytest.mark.parametrize("alias", ["default"], indirect=True)
@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("apply", [False, True])
def test_what_was_planted_in_a_copy_of_sqlite_is_not_restored(made: Path, name: str, *, apply: bool) -> None:
    with sqlite3.connect(made / "database.sqlite3") as planted:
        planted.executescript(PLANTED[name])
    planted.close()
    _fit(made, is_signed=False)
    SqlStore(TE, "default").put([ReflectionFactory(id="later")])
    with pytest.raises(DocumentCorrupt, match="objects that the migrations do not create") as caught:
        _back(made, apply=apply)
    assert (
        "planted" in str(caught.value)
        or "orb_words_added" in str(caught.value)
        or "luna_active_modes" in str(caught.value)
    )
    assert SqlStore(TE, "default").count(TE.kinds[0]) == 2


@pytest.mark.parametrize("alias", ["default"], indirect=True)
def test_what_the_database_has_too_is_restored(made: Path, tmp_path: Path) -> None:
    own = "CREATE INDEX of_our_own ON te_reflections (input)"
    with connections["default"].cursor() as cursor:
        cursor.execute(own)
        try:
            path = backup(registered(["te"]), None, tmp_path / "to", now=now).backup
            assert path is not None
            _back(path)
        finally:
            cursor.execute("DROP INDEX of_our_own")
    with pytest.raises(DocumentCorrupt, match="index of_our_own"):
        _back(path)


@pytest.mark.parametrize("alias", ["default"], indirect=True)
def test_the_migrations_make_what_the_database_has(alias: str) -> None:
    connections[alias].ensure_connection()
    there = sqlite_schema.described(connections[alias].connection)
    assert sqlite_schema.unknown(there, {}) == []
    assert ("trigger", "orb_words_added") in there
    assert connections["default"] is not None


@pytest.mark.parametrize("alias", ["postgresql"], indirect=True)
def test_a_dump_of_ours_has_nothing_unknown_for_an_empty_database(made: Path, alias: str) -> None:
    program = postgresql.find("pg_restore", connections[alias].pg_version // 10_000)
    script = subprocess.run(
        [program, "--no-owner", "--file=-", made / "database.dump"], capture_output=True, text=True, check=True
    ).stdout
    tables = set(connections[alias].introspection.table_names())
    assert list(postgresql_schema.unknown(script.splitlines(keepends=True), tables, set())) == []
    assert any(line.startswith("COPY public.te_reflections") for line in script.splitlines())


ON_POSTGRESQL = {
    "a function": "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$",
    "a trigger": "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS $x$BEGIN DELETE FROM luna_profiles; "
    "RETURN NULL; END$x$; CREATE TRIGGER planted AFTER INSERT ON te_reflections FOR EACH ROW EXECUTE FUNCTION planted()",
    "a rule": "CREATE RULE planted AS ON INSERT TO te_reflections DO ALSO DELETE FROM luna_profiles",
    "an event trigger": "CREATE FUNCTION planted() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$; "
    "CREATE EVENT TRIGGER planted ON ddl_command_start EXECUTE FUNCTION planted()",
    "a view": "CREATE VIEW planted AS SELECT * FROM auth_user",
    "a table": "CREATE TABLE planted (a int)",
    "a default": "ALTER TABLE te_reflections ALTER COLUMN notes SET DEFAULT pg_read_file('planted')",
    "a policy": "ALTER TABLE te_reflections ENABLE ROW LEVEL SECURITY; CREATE POLICY planted ON te_reflections USING (true)",
}
_UNDONE = (
    "DROP EVENT TRIGGER IF EXISTS planted; DROP TABLE IF EXISTS planted; DROP VIEW IF EXISTS planted; "
    "DROP RULE IF EXISTS planted ON te_reflections; DROP POLICY IF EXISTS planted ON te_reflections; "
    "DROP FUNCTION IF EXISTS planted CASCADE; ALTER TABLE te_reflections DISABLE ROW LEVEL SECURITY; "
    "ALTER TABLE te_reflections ALTER COLUMN notes DROP DEFAULT"
)


@pytest.mark.parametrize("alias", ["postgresql"], indirect=True)
@pytest.mark.parametrize("name", ON_POSTGRESQL)
def test_what_was_planted_in_a_dump_is_not_restored(alias: str, tmp_path: Path, name: str) -> None:
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(ON_POSTGRESQL[name])
        try:
            path = backup(registered(["te"]), None, tmp_path / "to", now=now, using=alias).backup
            assert path is not None
            _back(path, alias, apply=False)  # what is in the database already is nothing new
        finally:
            for statement in _UNDONE.split("; "):
                if not (name == "a table" and "VIEW" in statement) and not (
                    name == "a view" and "TABLE IF" in statement
                ):
                    cursor.execute(statement)
    _fit(path, is_signed=False)
    SqlStore(TE, alias).put([ReflectionFactory(id="later")])
    with pytest.raises(DocumentCorrupt, match="objects that the migrations do not create"):
        _back(path, alias)
    assert SqlStore(TE, alias).count(TE.kinds[0]) == 1


HOSTILE = [
    "COPY public.te_reflections (id) FROM PROGRAM 'id';",
    "COPY public.te_reflections (id) FROM '/etc/passwd';",
    "COMMENT ON TABLE public.te_reflections IS E'\\'; CREATE FUNCTION f() RETURNS int AS $$ SELECT 1 $$ LANGUAGE sql; --';",
    "CREATE TABLE public.te_reflections (a int); CREATE TRIGGER t BEFORE INSERT ON te_reflections EXECUTE FUNCTION f();",
    "CREATE TABLE public.te_reflections (a) AS (SELECT pg_read_file('/etc/passwd'));",
    "CREATE TABLE public.te_reflections (a text DEFAULT (query_to_xml('DELETE FROM auth_user', true, true, ''))::text);",
    "CREATE INDEX i ON public.te_reflections USING btree (lo_import('/etc/passwd'));",
    "DO $$BEGIN DELETE FROM auth_user; END$$;",
    "SET ROLE postgres; DROP TABLE auth_user;",
    "SELECT pg_catalog.set_config('search_path', 'evil', false);",
    "SELECT pg_catalog.pg_read_file('/etc/passwd');",
    "DELETE FROM public.te_reflections;",
    "CREATE EXTENSION plpython3u;",
    "ALTER TABLE public.te_reflections OWNER TO x; DELETE FROM auth_user;",
    "CREATE TABLE public.te_reflections (a int) -- ;\n; DELETE FROM auth_user;",
    "/* CREATE TABLE public.te_reflections ( */ DELETE FROM auth_user; /* ) */;",
    "CREATE TABLE public.te_reflections_m2024_13 (a int);",
    "ALTER TABLE ONLY public.te_reflections ATTACH PARTITION public.te_reflections_m2024_01 FOR VALUES FROM "
    "(pg_read_file('/etc/passwd')) TO ('2024-02-01 00:00:00+00');",
    "ALTER TABLE ONLY public.te_reflections ATTACH PARTITION public.te_reflections_default DEFAULT; DELETE FROM auth_user;",
    "CREATE FUNCTION public.te_reflections_take_key() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM auth_user; "
    "RETURN NEW; END $$;",
    'CREATE TABLE public."te_reflections" (a int)\n',
]
PARTITIONS = [
    "CREATE TABLE public.te_reflections (id text, created_at timestamp with time zone) PARTITION BY RANGE (created_at);",
    "CREATE TABLE public.te_reflections_m2024_01 (id text, created_at timestamp with time zone);",
    "CREATE TABLE public.te_reflections_run12_d2024_01_31 (id text, created_at timestamp with time zone);",
    "ALTER TABLE ONLY public.te_reflections ATTACH PARTITION public.te_reflections_m2024_01 FOR VALUES FROM "
    "('2024-01-01 00:00:00+00') TO ('2024-02-01 00:00:00+00');",
    "ALTER TABLE ONLY public.te_reflections ATTACH PARTITION public.te_reflections_default DEFAULT;",
    "CREATE INDEX te_reflections_id ON ONLY public.te_reflections USING btree (id);",
    "ALTER INDEX public.te_reflections_id ATTACH PARTITION public.te_reflections_m2024_01_id_idx;",
    "COPY public.te_reflections_default (id) FROM stdin;",
]


@pytest.mark.parametrize("statement", HOSTILE)
def test_a_statement_that_is_no_part_of_a_table_is_unknown(statement: str) -> None:
    lines = ["SET statement_timeout = 0;\n", "\n", *statement.splitlines(keepends=True), "\n"]
    found = list(postgresql_schema.unknown(lines, {"te_reflections"}, set()))
    assert found or statement.startswith('CREATE TABLE public."te_reflections" (a int)\n')


@pytest.mark.parametrize("statement", PARTITIONS)
def test_partitions_of_a_table_are_parts_of_it(statement: str) -> None:
    assert list(postgresql_schema.unknown([f"{statement}\n"], {"te_reflections"}, set())) == []


def test_rows_of_copy_are_no_statements() -> None:
    script = ["COPY public.t (a) FROM stdin;\n", "DROP TABLE x;\n", "\\\\.\n", "\\.\n", "CREATE VIEW v AS SELECT 1;\n"]
    assert list(postgresql_schema.unknown(script, {"t"}, set())) == ["CREATE VIEW v AS SELECT 1"]


def test_a_backup_is_signed_and_common_tools_still_check_it(made: Path, alias: str) -> None:
    first = (made / "SHA256SUMS").read_text().splitlines()[0]
    assert first.startswith("# HMAC-SHA256 ")
    assert subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=made, check=False).returncode == 0
    report = _back(made, alias)
    assert "signature" not in report.domains


def _unsign(path: Path) -> None:
    lines = (path / "SHA256SUMS").read_text().splitlines(keepends=True)
    (path / "SHA256SUMS").write_text("".join(line for line in lines if not line.startswith("#")))


@pytest.mark.parametrize("apply", [False, True])
@pytest.mark.parametrize("required", [False, True])
def test_a_backup_that_was_changed_is_refused_whatever_its_sums_say(
    made: Path, alias: str, settings: Any, *, apply: bool, required: bool
) -> None:
    settings.ORB_BACKUP_REQUIRE_SIGNATURE = required
    tree = json.loads((made / "manifest.json").read_bytes())
    tree["label"] = "another"
    (made / "manifest.json").write_bytes(json.dumps(tree).encode())
    _fit(made, is_signed=True)
    SqlStore(TE, alias).put([ReflectionFactory(id="later")])
    with pytest.raises(DocumentCorrupt, match="its manifest, which was changed"):
        _back(made, alias, apply=apply)
    assert SqlStore(TE, alias).count(TE.kinds[0]) == 2


@pytest.mark.parametrize("required", [False, True])
def test_a_backup_without_a_signature_is_restored_with_a_warning_unless_one_is_required(
    made: Path, alias: str, settings: Any, *, required: bool
) -> None:
    settings.ORB_BACKUP_REQUIRE_SIGNATURE = required
    _unsign(made)
    if required:
        with pytest.raises(OrbError, match="ORB_BACKUP_REQUIRE_SIGNATURE"):
            _back(made, alias)
    else:
        report = _back(made, alias)
        assert "no signature" in report.domains["signature"].findings[0].message


@pytest.mark.parametrize("alias", ["default"], indirect=True)
def test_keys_are_changed_without_losing_a_backup(made: Path, tmp_path: Path, settings: Any) -> None:
    def taken(name: str) -> Path:
        path = backup(registered(["te"]), None, tmp_path / name, now=now).backup
        assert path is not None
        return path

    by_secret, settings.ORB_BACKUP_KEY = made, "an old key of backups"
    by_old = taken("old")
    settings.ORB_BACKUP_KEY = "a new key, an old key of backups".replace(" ", "-").replace(",-", ", ")
    by_new = taken("new")
    settings.ORB_BACKUP_KEY = "a-new-key an-old-key-of-backups"
    for path in (by_secret, by_new):
        _back(path)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another secret", [settings.SECRET_KEY]
    _back(by_secret)
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(DocumentCorrupt, match="an unknown key"):
        _back(by_secret)
    with pytest.raises(DocumentCorrupt, match="an unknown key"):
        _back(by_old)
    settings.ORB_BACKUP_KEY = "a-new-key"
    _back(by_new)


@pytest.mark.parametrize("alias", ["default"], indirect=True)
@pytest.mark.parametrize("spoil", [lambda line: line[:-1] + "x", lambda line: "# nothing", lambda line: line.upper()])
def test_a_signature_that_is_none_is_refused(made: Path, spoil: Callable[[str], str]) -> None:
    lines = (made / "SHA256SUMS").read_text().splitlines()
    (made / "SHA256SUMS").write_text("\n".join([spoil(lines[0]), *lines[1:], ""]))
    with pytest.raises(DocumentCorrupt, match="cannot be trusted"):
        _back(made)


def test_the_versions_of_a_backup_tell_nothing_of_keys(made: Path, alias: str, settings: Any) -> None:
    everything = "".join((made / name).read_text() for name in ("manifest.json", "SHA256SUMS"))
    assert settings.SECRET_KEY not in everything
    assert database.versions(alias)
