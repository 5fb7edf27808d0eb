"""The rows of a user that an erasure deletes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orbsite.operations.ledger.erased_rows import erase_rows
from orbsite.storage.sql.store import SqlStore
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.support.factories import ReflectionFactory

ERASED_AT = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.django_db
def test_only_records_that_are_newer_than_the_erasure_stay() -> None:
    store, tick = SqlStore(TE), timedelta(microseconds=1)
    for name, moment in (("before", ERASED_AT - tick), ("at", ERASED_AT), ("after", ERASED_AT + tick)):
        store.put([ReflectionFactory(id=name, created_at=moment)])
    erased = erase_rows("ana", [TE], "default", until=ERASED_AT)
    assert erased.records == {Reflection: 2}
    assert [one.id for one in store.find(Reflection)] == ["after"]
