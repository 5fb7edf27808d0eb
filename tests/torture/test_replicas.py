"""Ten thousand saves, each read at once by its client, from a replica and over HTTP, and replicas that fail meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orbsite.client import Client
from tests.support.pgbouncer import or_skipped
from tests.support.postgresql import Server, standby
from tests.support.replicas import REPLICA, address, caught_up, primary, read_own_writes, replicated
from tests.support.serving import served

pytestmark = [pytest.mark.scale, pytest.mark.timeout(600)]
ROUNDS, OVER_HTTP, CLIENTS = 10_000, 200, 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with or_skipped(), primary(tmp_path_factory.mktemp("primary")) as server:
        yield server


def test_of_ten_thousand_saves_each_is_read_at_once_while_the_replica_stops_and_returns(
    server: Server, django_db_blocker: Any
) -> None:
    with django_db_blocker.unblock(), replicated(server) as replica:

        def restart() -> None:
            replica.stop("immediate")
            replica.start()

        outcome = read_own_writes(ROUNDS, CLIENTS, between=restart, reads=1)
    assert (outcome.errors[:3], outcome.stale) == ([], 0)
    assert outcome.reads.total() == ROUNDS
    assert outcome.reads[REPLICA] > ROUNDS // 20, outcome.reads


def test_over_http_a_client_reads_what_it_has_saved_from_any_process(server: Server, tmp_path: Path) -> None:
    settings = {"DATABASE_REPLICA_URLS": "", "ORB_API_RATE": "none", "WEB_CONCURRENCY": "2"}
    settings |= {"ORB_HTTPS": "false", "ALLOWED_HOSTS": "127.0.0.1,orb.example.org"}
    with standby(server) as replica:
        caught_up(server, replica)
        settings["DATABASE_REPLICA_URLS"] = address(replica)
        with served(tmp_path, address(server), has_tables=True, **settings) as site:
            token = site.token("--scope", "write", "--scope", "operate", "--every-user")

            def client(number: int) -> int:
                missed, user = 0, f"http-{number}"
                with Client(f"http://127.0.0.1:{site.port}", token) as orb:
                    for at in range(OVER_HTTP // CLIENTS):
                        if number == at == 0:
                            assert 'orb_replica_fit{replica="replica-1"} 1\n' in _metrics(site, token)
                        if number == 0 and at == OVER_HTTP // CLIENTS // 2:
                            replica.promote()
                        saved = orb.create_reflection(user, "i", "o").record
                        missed += saved.id not in {one.id for one in orb.reflections(user)}
                return missed

            with ThreadPoolExecutor(CLIENTS) as pool:
                assert list(pool.map(client, range(CLIENTS))) == [0] * CLIENTS
            assert 'orb_replica_fit{replica="replica-1"} 0\n' in _metrics(site, token)
            answer = site.ask("GET", "/api/v1/users/http-0/sessions", token=token)
            assert json.loads(answer.body)["items"][0]["reflections"] == OVER_HTTP // CLIENTS


def _metrics(site: Any, token: str) -> str:
    return str(site.ask("GET", "/metrics", token=token).body.decode())
