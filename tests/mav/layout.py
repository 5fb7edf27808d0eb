"""`{"<userId>": {"<actionId>": {...}}}`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from orbsite.storage.encoding.json_parser import repeated_keys
from orbsite.storage.errors import DocumentCorrupt
from orbsite.storage.findings import path_to
from orbsite.storage.records.decoder import Reader, members
from orbsite.storage.records.domain import Entry, Layout, Tree
from orbsite.storage.records.record import Record
from tests.mav.records import Action


class ActionsLayout(Layout):
    def decode(self, data: bytes) -> Iterator[Entry]:
        users = members(msgspec.Raw(data))
        if users is None:
            raise DocumentCorrupt("expected an object", "$")
        keys, reader = len(users), Reader(Action)
        for user, piece in users.items():
            yield Entry(place=(user,), value={})
            for name, item in (members(piece) or {}).items():
                reading = reader.read(item, path_to((user, name)))
                keys += 1 + reading.keys
                yield Entry(
                    place=(user, name),
                    record=reading.record,
                    value=item,
                    kind=Action,
                    key=(name,),
                    findings=tuple(reading.findings),
                )
        yield Entry(place=(), findings=tuple(repeated_keys(data, keys)))

    def apply(self, tree: Tree, record: Record, old: Record | None) -> None:
        tree.setdefault(record.user_id, {})[record.key[0]] = record

    def drop(self, tree: Tree, record: Record) -> None:
        del tree[record.user_id][record.key[0]]

    def encode(self, tree: Tree) -> Any:
        return {
            user: {name: item.as_json() if isinstance(item, Action) else item for name, item in items.items()}
            for user, items in tree.items()
        }
