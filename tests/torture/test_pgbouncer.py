"""The contract and the API through PgBouncer, which gives each transaction another session, and programs behind it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.nested import OF_SQLITE, number_passed
from tests.support.pgbouncer import or_skipped, pooling
from tests.support.serving import Server, served
from tests.torture.databases import Database, migrated

ROOT = Path(__file__).parents[2]
SAVES = 300
SAMPLE = ROOT / "sample" / ".orb-data"
pytestmark = pytest.mark.timeout(900)
PARTS = {
    "contract": ["tests/contract/test_contract.py", "tests/contract/test_stores_agree.py", "-k", "postgresql or test_stores_agree"],
    "api": ["tests/api", "-m", "not slow and not torture and not scale", "-k", "not sqlite"],
}  # fmt: skip


@pytest.mark.scale
@pytest.mark.parametrize("part", PARTS)
def test_the_suites_pass_through_a_pool_of_transactions(part: str) -> None:
    left_out = [f"--deselect={test}" for test in OF_SQLITE]
    options = ["--ds=tests.pooled_settings", *left_out, *PARTS[part]]
    assert number_passed(*options, ORB_TESTS_POOL_MODE="transaction") > 400


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Server, Database]]:
    """A server that saves through a pooler, and its database."""
    with ExitStack() as stack:
        stack.enter_context(or_skipped())
        database = stack.enter_context(migrated("postgresql", tmp_path))
        pooler = stack.enter_context(pooling(database.server))  # type: ignore[attr-defined]
        pooled = f"postgres://orb@:{pooler.port}/{database.place['NAME']}?host={pooler.host}"
        direct = {"DATABASE_DIRECT_URL": database.address, "ORB_API_RATE": "none", "ORB_TASKS_BACKEND": "immediate"}
        yield stack.enter_context(served(tmp_path, pooled, has_tables=True, **direct)), database


@pytest.mark.torture
def test_programs_do_their_work_past_the_pooler_while_a_server_saves_through_it(
    place: tuple[Server, Database], tmp_path: Path
) -> None:
    server, database = place
    token = server.token("--scope", "write", "--every-user")

    def save(number: int) -> int:
        body = {"id": f"saved-{number}", "sessionId": f"s-{number % 7}", "input": "i", "output": "o"}
        sent = json.dumps(body).encode()
        return server.ask("POST", f"/api/v1/users/u{number % 5}/reflections", sent, token).status

    def work() -> None:
        server.manage("check", "--database", "default")
        server.manage("migrate_orb_files", "--data-dir", str(SAMPLE), "--no-backup")
        server.manage("create_orb_backup", "--no-files", "--to", str(tmp_path / "b"))
        server.manage("compact_orb_files", "--max-per-session", "20", "--only", "te", "--force")
        (run,) = database.query("SELECT id FROM orb_runs WHERE operation = 'migrate'")
        server.manage("rollback_orb_migration", str(run["id"]))

    with ThreadPoolExecutor(9) as pool:
        worked = pool.submit(work)
        statuses = Counter(pool.map(save, range(SAVES)))
        worked.result()
    assert statuses == {201: SAVES}
    kept = database.query("SELECT id FROM te_reflections WHERE id LIKE 'saved-%'")
    removed = database.query("SELECT 1 FROM orb_changes WHERE key LIKE '%saved-%'")
    assert len(kept) + len(removed) == SAVES
    assert {row["state"] for row in database.query("SELECT state FROM orb_runs")} == {"complete", "rolled back"}
    (saved,) = (tmp_path / "b").iterdir()
    server.manage("restore_orb_backup", str(saved), "--no-files", "--apply")
    assert len(database.query("SELECT id FROM te_reflections WHERE id LIKE 'saved-%'")) <= SAVES
