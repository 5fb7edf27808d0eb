"""Items that do not decode: never returned, never replaced, never removed; in files and in SQL alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connections

from luna.domain import DOMAIN as LUNA
from luna.records import Profile
from orbsite.storage.base.store import Store
from orbsite.storage.errors import RecordUnreadable
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from orbsite.storage.sql.store import SqlStore
from tests.support.factories import ProfileFactory

pytestmark = pytest.mark.django_db(databases="__all__")

DAMAGED = ProfileFactory(user_id="ana", mode_id="damaged")
WHOLE = ProfileFactory(user_id="ana", mode_id="whole")


def _file(base: Path) -> tuple[Store, Callable[[], object]]:
    path = base / LUNA.file
    store = FileStore(LUNA, Document(base, LUNA.file))
    store.put([DAMAGED, WHOLE])
    tree = json.loads(path.read_bytes())
    tree["ana"]["profiles"]["damaged"]["preferences"] = [1, {"kept": 1.5}]
    path.write_text(json.dumps(tree))
    return store, lambda: json.loads(path.read_bytes())["ana"]["profiles"].get("damaged")


def _sql(alias: str) -> tuple[Store, Callable[[], object]]:
    store = SqlStore(LUNA, alias)
    store.put([DAMAGED, WHOLE])
    with connections[alias].cursor() as cursor:
        cursor.execute("UPDATE luna_profiles SET preferences = '[1]' WHERE mode_id = 'damaged'")

    def look() -> object:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT preferences FROM luna_profiles WHERE mode_id = 'damaged'")
            return cursor.fetchone()

    return store, look


@pytest.fixture(params=["file", "sqlite", "postgresql"])
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, Callable[[], object]]:
    if request.param == "file":
        return _file(tmp_path / "data")
    return _sql("default" if request.param == "sqlite" else request.getfixturevalue("postgresql_alias"))


def test_they_are_never_returned(damaged: tuple[Store, Callable[[], object]]) -> None:
    store, _ = damaged
    assert store.fetch(Profile, [DAMAGED.key, WHOLE.key]) == {WHOLE.key: WHOLE}
    assert store.find(Profile, {"user_id": "ana"}, limit=1) == [WHOLE]
    assert list(store.walk(Profile, page=1)) == [WHOLE]


def test_they_are_never_replaced(damaged: tuple[Store, Callable[[], object]]) -> None:
    store, look = damaged
    before = look()
    with pytest.raises(RecordUnreadable):
        store.put([DAMAGED])
    with pytest.raises(RecordUnreadable):
        store.add(DAMAGED)
    store.put([ProfileFactory(user_id="ana")])
    assert look() == before is not None


def test_they_are_never_removed(damaged: tuple[Store, Callable[[], object]]) -> None:
    store, look = damaged
    before = look()
    assert store.delete(Profile, [DAMAGED.key]) == 0
    assert store.delete_where(Profile, {"user_id": "ana"}) == 1
    assert look() == before is not None
