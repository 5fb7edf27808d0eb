"""What is read of a PostgreSQL server, here of one without Citus."""

from __future__ import annotations

import pytest
from django.db import connections

from orbsite.operations.scaling.citus import spread
from orbsite.operations.scaling.cluster import read_cluster
from orbsite.storage.citus import has_citus, placed_tables
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import registered
from tests.support import citus

pytestmark = [
    pytest.mark.django_db(databases="__all__"),
    pytest.mark.skipif(bool(citus.ADDRESS), reason="the server has Citus"),
]


def test_the_keys_of_tables_are_read(postgresql_alias: str) -> None:
    cluster = read_cluster(postgresql_alias)
    keys = {key.name: (key.columns, key.is_primary) for key in cluster.keys["te_reflections"]}
    assert keys == {
        "te_reflections_pkey": (("row_id",), True),
        "te_reflections_key": (("user_id", "id"), False),
    }
    assert all(key.is_valid for found in cluster.keys.values() for key in found)
    assert not cluster.open_migrations
    assert not cluster.placed


def test_foreign_keys_and_triggers_are_read(postgresql_alias: str) -> None:
    with connections[postgresql_alias].cursor() as cursor:
        cursor.execute("CREATE TABLE notes (n int REFERENCES orb_jobs (id))")
        cursor.execute("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")
        cursor.execute("CREATE TRIGGER watch AFTER INSERT ON notes FOR EACH ROW EXECUTE FUNCTION f()")
    cluster = read_cluster(postgresql_alias)
    (found,) = (one for one in cluster.foreign_keys if one.table == "notes")
    assert (found.columns, found.target, found.target_columns) == (("n",), "orb_jobs", ("id",))
    assert cluster.triggers == {"notes": ["watch"]}


def test_a_server_without_citus_is_refused(postgresql_alias: str) -> None:
    assert not has_citus(connections[postgresql_alias])
    assert placed_tables(connections[postgresql_alias]) == {}
    with pytest.raises(OrbError, match=r"citus"):
        spread(registered(["luna", "te"]), apply=True, using=postgresql_alias)


def test_another_database_is_refused(db: None) -> None:
    with pytest.raises(OrbError, match="not PostgreSQL"):
        spread(registered(["luna", "te"]), apply=True)
