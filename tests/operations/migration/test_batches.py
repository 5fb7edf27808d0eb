"""Batches of a source: spans are cut where a batch is full, and stand for the entries that they are."""

from __future__ import annotations

import json

import pytest

from orbsite.operations.migration.batches import parts_of
from orbsite.storage.file.content import entries, spans
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.domain import Entry, Span
from te.domain import DOMAIN as TE


def item(number: int, **more: object) -> dict[str, object]:
    return {"id": f"r{number}", "input": "", "output": "", "tags": [], "createdAt": "2024-01-02T03:04:05.000Z", **more}


def document() -> bytes:
    """Return sessions of one owner, of two possible owners, with an item that does not decode, and with a copy."""
    sessions = {
        "a": [item(number) for number in range(7)],
        "b": [item(8), item(9)],
        "c": [item(10), {"id": "r11"}, item(12)],
        "d": [item(13), item(3), item(14, extra=1)],
        "e": [item(15), item(15)],
    }
    return json.dumps({"sessions": sessions, "userSessions": {"ana": ["a", "b", "d", "e"], "bo": ["b", "c"]}}).encode()


def test_a_list_of_one_owner_without_findings_is_a_span_and_any_other_is_not() -> None:
    found = {part.place: len(part.records) for part in spans(TE, document()) if isinstance(part, Span)}
    assert found == {("sessions", "a"): 7}
    copies = [entry.place for entry in entries(TE, document()) if entry.copy]
    assert copies == [("sessions", "e", 1)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("done", [0, 4])
def test_batches_hold_all_entries_in_order_whatever_their_size(size: int, done: int) -> None:
    whole, store = list(entries(TE, document())), MemoryStore(TE)
    batches = list(parts_of(spans(TE, document()), store, size=size, done=done))
    assert sum(batch.size for batch in batches) == len(whole)
    assert all(batch.size <= size for batch in batches)
    assert sum(batch.size for batch in batches if batch.is_done) == done
    assert sum(batch.items for batch in batches) == sum(entry.kind is not None for entry in whole)
    found: dict[tuple[str | int, ...], Entry] = {}
    for batch in batches:
        found |= {entry.place: entry for _, members in batch.batches for entry in members}
    wanted = [one for one in whole[done:] if one.record and not one.copy and len(one.owners) < 2]
    assert list(found.values()) == wanted


def test_a_member_of_a_batch_is_found_from_either_end() -> None:
    (batch,) = parts_of(spans(TE, document()), MemoryStore(TE))
    ((_, members),) = batch.batches
    assert members[-1] == members[len(members) - 1] == list(members)[-1]
    assert [one.position for one in members[2:4]] == [2, 3]
    with pytest.raises(IndexError):
        members[len(members)]
