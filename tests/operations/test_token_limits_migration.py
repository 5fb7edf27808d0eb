"""The migration that gives jobs their tokens, on databases that hold jobs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.postgresql import Unavailable
from tests.serving import manage, production
from tests.torture.databases import opened

pytestmark = pytest.mark.slow
MOMENT = "2026-01-01 00:00:00+00:00"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_jobs_of_a_token_become_its_own_and_no_job_is_queued_again(kind: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        try:
            database = stack.enter_context(opened(kind, tmp_path))
        except Unavailable as problem:
            pytest.skip(str(problem))
        environment = production(tmp_path, DATABASE_URL=database.address)
        manage(environment, "migrate", "orbsite", "0013", "--verbosity", "0")
        yes, no = ("1", "0") if kind == "sqlite" else ("true", "false")
        database.execute(
            "INSERT INTO orb_tokens (name, prefix, digest, scopes, users, every_user, created_at, created_by) VALUES "
            f"('a', 'aaaaaaaa', '', '[\"operate\"]', '[\"ana\"]', {no}, '{MOMENT}', ''), "
            f"('b', 'bbbbbbbb', '', '[\"operate\"]', '[]', {yes}, '{MOMENT}', '')"
        )
        for actor in ("token aaaaaaaa", "token bbbbbbbb", "token cccccccc", "root", ""):
            database.execute(
                "INSERT INTO orb_jobs (operation, arguments, state, progress, wants_to_stop, error, actor, worker, "
                f"created_at) VALUES ('validate', '{{}}', 'queued', 0, {no}, '', '{actor}', '', '{MOMENT}')"
            )
        manage(environment, "migrate", "--verbosity", "0")
        rows = database.query(
            "SELECT actor, prefix, enqueued_at = orb_jobs.created_at AS is_known FROM orb_jobs "
            "LEFT JOIN orb_tokens ON token_id = orb_tokens.id"
        )
        assert {row["actor"]: row["prefix"] for row in rows} == {
            "token aaaaaaaa": "aaaaaaaa",
            "token bbbbbbbb": "bbbbbbbb",
            "token cccccccc": None,
            "root": None,
            "": None,
        }
        assert all(row["is_known"] for row in rows)
