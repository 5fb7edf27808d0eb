"""What `manage.py check --database` says of connections through a pooler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orbsite.conf.postgresql_checks import check_pooler
from tests.support.pgbouncer import or_skipped, past_the_pooler, pooled_alias
from tests.support.shared_run import postgresql_server

Place = dict[str, Any]
FINE = ["orb.W007"]
"""What is said where all is right, but that the server sets no time limits."""


@pytest.fixture
def place(django_db_blocker: Any) -> Iterator[Place]:
    """Where a database is, past every pooler."""
    with or_skipped(), postgresql_server() as server, django_db_blocker.unblock():
        yield {"NAME": "template1", "HOST": server.host, "PORT": str(server.port), "USER": server.user}


def _found(alias: str) -> list[str | None]:
    return [message.id for message in check_pooler(databases=[alias])]


def test_a_server_itself_and_a_pool_of_sessions_are_fine(place: Place) -> None:
    assert check_pooler(databases=None) == []
    with pooled_alias(place, "session") as alias:
        assert _found(alias) == []


def test_a_pool_of_transactions_needs_an_address_past_it(place: Place) -> None:
    with pooled_alias(place) as alias:
        assert _found(alias) == ["orb.E022"]
    with pooled_alias(place, **past_the_pooler(place)) as alias:
        assert _found(alias) == FINE
        (said,) = check_pooler(databases=[alias])
        assert "ALTER ROLE \"orb\" SET lock_timeout = '10s';" in str(said.hint)


def test_a_pool_of_statements_is_an_error(place: Place) -> None:
    with pooled_alias(place, "statement", **past_the_pooler(place)) as alias:
        assert _found(alias) == ["orb.E023"]


def test_time_limits_that_a_pooler_refuses_are_an_error_that_names_the_setting(place: Place) -> None:
    with pooled_alias(place, OPTIONS={"options": "-c lock_timeout=1s"}) as alias:
        (said,) = check_pooler(databases=[alias])
    assert (said.id, "set DATABASE_DIRECT_URL" in said.msg) == ("orb.E023", True)


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({"DISABLE_SERVER_SIDE_CURSORS": False}, ["orb.E025"]),
        ({"OPTIONS": {"prepare_threshold": 5}}, ["orb.E026"]),
        ({"DIRECT": {}}, ["orb.E022"]),
        ({"DIRECT": {"NAME": "postgres"}}, ["orb.E024"]),
        ({"DIRECT": {"HOST": "/nowhere"}}, ["orb.E024"]),
    ],
    ids=str,
)
def test_a_setting_that_does_not_fit_a_pool_is_an_error(place: Place, more: dict[str, Any], found: list[str]) -> None:
    usual = past_the_pooler(place)
    if "NAME" in more.get("DIRECT", {}):
        more = {"DIRECT": {**usual["DIRECT"], **more["DIRECT"]}}
    with pooled_alias(place, **{**usual, **more}) as alias:
        assert sorted(_found(alias), key=str) == [*found, *FINE]
