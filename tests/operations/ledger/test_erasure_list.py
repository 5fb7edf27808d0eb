"""The erasure list of the database is asked for one user by its index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orbsite.operations.ledger.erasure_list import add_to_database, enter, erased_at
from orbsite.storage.base.erasures import Erasure, digest_of

pytestmark = pytest.mark.django_db
DAY = datetime(2026, 1, 31, tzinfo=UTC)


def test_the_last_erasure_of_a_user_counts_whatever_its_salt() -> None:
    for days, user in ((0, "ana"), (2, "ana"), (1, "ana"), (9, "bo")):
        enter(user, DAY + timedelta(days=days), base=None, using="default")
    assert erased_at("ana") == DAY + timedelta(days=2)
    other = "f0" * 32
    add_to_database([Erasure(DAY + timedelta(days=3), other, digest_of("ana", other))])
    assert erased_at("ana") == DAY + timedelta(days=3)
    assert (erased_at("bo"), erased_at("cleo"), erased_at("")) == (DAY + timedelta(days=9), None, None)


def test_it_is_asked_once_for_each_salt(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert erased_at("ana") is None
    for number in range(20):
        enter(f"user-{number}", DAY, base=None, using="default")
    with django_assert_num_queries(2):
        assert erased_at("user-7") == DAY
