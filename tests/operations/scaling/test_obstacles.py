"""What forbids that the tables are spread, and the statements that spread them, for each state of a database."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from orbsite.models.placement import Placement, Table, tables
from orbsite.operations.scaling.cluster import Cluster, ForeignKey, Key
from orbsite.operations.scaling.obstacles import obstacles, refuse_unless_ready
from orbsite.operations.scaling.steps import steps_for
from orbsite.storage.citus import Node, PlacedTable
from orbsite.storage.errors import OrbError
from orbsite.storage.sql.models import RecordRow

OURS = [
    table for table in tables() if table.placement is Placement.DISTRIBUTED or not issubclass(table.model, RecordRow)
]
"""The tables but for those of the third domain, whose keys lack the user."""
SPREAD = [table.name for table in OURS if table.placement is Placement.DISTRIBUTED]
KEYS = {table.name: [Key(f"{table.name}_pkey", ("id",), is_primary=True)] for table in OURS} | {
    "luna_active_modes": [Key("luna_active_modes_pkey", ("user_id",), is_primary=True)]
}
READY = Cluster(nodes=[Node("one", 5432, is_coordinator=True, has_shards=False), Node("two", 5432)], keys=KEYS)
PLACED = {name: PlacedTable("distributed", "user_id", "hash", 3, 32) for name in SPREAD}
TOOLS = Table(OURS[0].model, Placement.REFERENCE, "a distributed table has a foreign key to it")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"vendor": "sqlite"}, "not PostgreSQL.*DATABASE_URL"),
        ({"is_available": False}, "install Citus for PostgreSQL 15.*shared_preload_libraries"),
        ({"is_preloaded": False}, "shared_preload_libraries = 'citus'.*restart"),
        ({"is_created": False}, "on every node: CREATE EXTENSION citus"),
        ({"is_coordinator": False}, "is a worker; set DATABASE_URL to the coordinator"),
        ({"open_migrations": ["te.0002_more"]}, "te.0002_more.*run migrate first"),
    ],
)
def test_a_server_that_is_not_ready_is_refused(state: dict[str, Any], message: str) -> None:
    with pytest.raises(OrbError, match=message):
        refuse_unless_ready(replace(READY, **state))


def test_one_that_is_ready_is_not() -> None:
    refuse_unless_ready(READY)
    assert not obstacles(READY, OURS)


@pytest.mark.parametrize(
    ("state", "path", "message"),
    [
        ({"nodes": ()}, "nodes", "no node takes shards.*citus_add_node"),
        ({"nodes": [Node("two", 5432, is_reachable=False)]}, "nodes", "two:5432 cannot be reached.*start it"),
        ({"placed": {"te_reflections": PlacedTable("reference")}}, "te_reflections", "kind reference.*undistribute"),
        (
            {"placed": {"te_reflections": PlacedTable("distributed", "session_id", "hash", 1)}},
            "te_reflections",
            "by session_id",
        ),
        (
            {"placed": {"te_reflections": PlacedTable("distributed", "user_id", "append", 1)}},
            "te_reflections",
            "append",
        ),
        ({"placed": {"orb_words": PlacedTable("schema", colocation=9)}}, "orb_words", "kind schema"),
        (
            {"placed": PLACED | {"orb_words": PlacedTable("distributed", "user_id", "hash", 4)}},
            "orb_words",
            "group 4, not 3",
        ),
        (
            {"keys": KEYS | {"orb_words": [*KEYS["orb_words"], Key("words_once", ("kind", "key"))]}},
            "orb_words",
            r"words_once \(kind, key\) lacks user_id",
        ),
        ({"keys": {}}, "te_reflections", "no such table"),
        ({"triggers": {"luna_profiles": ["notify"]}}, "luna_profiles", "trigger notify"),
        (
            {"foreign_keys": [ForeignKey("notes_of", "notes", ("reflection",), "te_reflections", ("row_id",))]},
            "te_reflections",
            "notes_of from notes to te_reflections would cross nodes",
        ),
        (
            {"foreign_keys": [ForeignKey("token", "te_reflections", ("token_id",), "orb_tokens", ("id",))]},
            "te_reflections",
            "would cross nodes",
        ),
        (
            {"foreign_keys": [ForeignKey("words_of", "orb_words", ("key",), "te_reflections", ("id",))]},
            "orb_words",
            "would cross nodes",
        ),
    ],
)
def test_an_obstacle_is_named_with_what_to_do(state: dict[str, Any], path: str, message: str) -> None:
    found = [finding for finding in obstacles(replace(READY, **state), OURS) if finding.path == path]
    assert found
    assert any(re.search(message, finding.message) for finding in found), found


def test_a_foreign_key_that_contains_the_user_holds() -> None:
    own = ForeignKey("words_of", "orb_words", ("user_id", "key"), "te_reflections", ("user_id", "id"))
    among_others = ForeignKey("answers_token", "orb_answers", ("token_id",), "orb_tokens", ("id",))
    assert not obstacles(replace(READY, foreign_keys=[own, among_others]), OURS)


def test_records_whose_keys_lack_the_user_are_refused() -> None:
    wanted = tables()
    cluster = replace(READY, keys=KEYS | {"mav_actions": [Key("mav_actions_pkey", ("id",), is_primary=True)]})
    (finding,) = obstacles(cluster, wanted)
    assert finding.path == "mav_actions"
    assert "key_fields" in finding.message
    assert "--only" in finding.message


def test_the_statements_of_a_new_cluster() -> None:
    (active_modes, profiles, *_) = SPREAD
    statements = [step.statement for step in steps_for(READY, OURS, 16) if step.table in (active_modes, profiles)]
    assert statements == [
        "SELECT create_distributed_table('luna_active_modes', 'user_id', colocate_with => 'none', shard_count => 16)",
        "SELECT truncate_local_data_after_distributing_table('luna_active_modes')",
        'CREATE UNIQUE INDEX CONCURRENTLY "luna_profiles_pkey_with_user" ON "luna_profiles" ("id", "user_id")',
        'ALTER TABLE "luna_profiles" DROP CONSTRAINT "luna_profiles_pkey", ADD CONSTRAINT "luna_profiles_pkey" '
        'PRIMARY KEY USING INDEX "luna_profiles_pkey_with_user"',
        "SELECT create_distributed_table('luna_profiles', 'user_id', colocate_with => 'luna_active_modes')",
        "SELECT truncate_local_data_after_distributing_table('luna_profiles')",
    ]


def test_nothing_is_left_to_do_where_all_is_done() -> None:
    assert not steps_for(replace(READY, placed=PLACED), OURS, 32)


def test_a_run_goes_on_where_another_was_stopped() -> None:
    built = {"luna_profiles": [*KEYS["luna_profiles"], Key("luna_profiles_pkey_with_user", ("id", "user_id"))]}
    broken = {"orb_words": [*KEYS["orb_words"], Key("orb_words_pkey_with_user", ("id", "user_id"), is_valid=False)]}
    done = {"luna_active_modes": PLACED["luna_active_modes"]}
    cluster = replace(READY, placed=done, keys=KEYS | built | broken, left_behind=frozenset({"luna_active_modes"}))
    assert not obstacles(cluster, OURS)
    begun = [step.statement for step in steps_for(cluster, OURS, 32)]
    assert begun[0] == "SELECT truncate_local_data_after_distributing_table('luna_active_modes')"
    assert begun[1].startswith('ALTER TABLE "luna_profiles"')
    assert 'DROP INDEX CONCURRENTLY "orb_words_pkey_with_user"' in begun
    assert not any("shard_count" in statement for statement in begun)


def test_a_reference_table_comes_before_those_that_refer_to_it() -> None:
    name = TOOLS.name
    first, *_ = steps_for(READY, [*(one for one in OURS if one.name != name), TOOLS], 32)
    assert first.statement == f"SELECT create_reference_table('{name}')"
    done = replace(READY, placed={name: PlacedTable("reference")})
    assert not any(step.table == name for step in steps_for(done, [TOOLS], 32))
