"""What is done for many sessions, records and users compares no more than a few names for each of them."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest

from orbsite.storage.file.content import Content
from te.domain import DOMAIN
from te.layout import ReflectionsLayout
from te.records import Reflection
from tests.support.factories import ReflectionFactory


class CountingList(str):
    """A text that counts how often one is compared with another."""

    __slots__ = ()
    times: ClassVar[int] = 0

    def __eq__(self, other: object) -> bool:
        CountingList.times += 1
        return str.__eq__(self, other)  # type: ignore[arg-type]

    __hash__ = str.__hash__


def compared(number: int, **fields: Any) -> int:
    """Return how often names are compared while so many records are put into a tree, and put again with changes."""
    CountingList.times = 0
    tree: dict[str, Any] = {}
    layout = ReflectionsLayout()
    for at in range(number):
        named = {"id": "r{}", "user_id": "ana", "session_id": "s{}"} | fields
        record = ReflectionFactory(**{name: CountingList(text.format(at)) for name, text in named.items()})
        layout.admit(tree, record)
        layout.apply(tree, record, None)
        layout.apply(tree, msgspec.structs.replace(record, input="changed"), record)
    return CountingList.times


@pytest.mark.parametrize(
    "fields",
    [{}, {"session_id": "s"}, {"session_id": "s", "user_id": "u{}"}, {"user_id": "u{}"}],
    ids=["many sessions", "one session", "many users of one session", "many users"],
)
def test_comparisons_do_not_grow_with_the_square(fields: dict[str, str]) -> None:
    few, many = compared(200, **fields), compared(800, **fields)
    assert many <= 4.6 * few + 100


def test_records_that_move_to_another_session_leave_the_first_in_one_pass() -> None:
    content = Content(DOMAIN, None)
    records = [ReflectionFactory(session_id="old") for _ in range(5)]
    stays = ReflectionFactory(session_id="old")
    content.upsert([*records, stays], None)
    content.upsert([msgspec.structs.replace(one, session_id="new") for one in records], None)
    assert [one.id for one in content.tree["sessions"]["old"]] == [stays.id]
    assert [one.id for one in content.tree["sessions"]["new"]] == [one.id for one in records]
    assert Content(DOMAIN, content.encode()).view.count(Reflection) == 6
