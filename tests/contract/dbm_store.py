"""Somebody else's store: records as JSON in a `dbm` file. It knows this project by the contract of stores alone."""

from __future__ import annotations

import contextlib
import dbm.dumb
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orbsite.storage.base.preconditions import refuse_another, refuse_other_owner, refuse_unexpected
from orbsite.storage.base.snapshot import Listed
from orbsite.storage.base.store import Store, alone, last_of_each
from orbsite.storage.encoding.json_parser import parse
from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.records.decoder import read


class DbmStore(Store):
    name = "dbm"

    def __init__(self, domain, path: Path) -> None:
        super().__init__(domain)
        self.path = str(path)

    def all_of(self, kind) -> dict[Any, Any]:
        with dbm.dumb.open(self.path, "c") as file:
            values = [file[name] for name in file if json.loads(name)[0] == kind.plural]
        records = [read(kind, parse(value)).record for value in values]
        return {record.key: record for record in records}

    def fetch(self, kind, keys, *, user_id=None, findings=None):
        found = self.all_of(kind)
        return {key: found[key] for key in keys if key in found and user_id in (None, found[key].user_id)}

    def select(self, kind, query, findings=None):
        return query.select(kind, sorted(self.all_of(kind).values(), key=lambda record: record.order))

    def add(self, record):
        (record,) = last_of_each([record])
        old = self.all_of(type(record)).get(record.key)
        refuse_other_owner(record, old)
        if old is None:
            self.put([record])
        return old or self.all_of(type(record))[record.key], old is None

    def put(self, records, *, expect=None, free=False):
        new = last_of_each(records, expect, free=free)
        for record in new:
            old = self.all_of(type(record)).get(record.key)
            refuse_other_owner(record, old)
            refuse_unexpected(old, expect)
            if free:
                refuse_another(record, old)
        with dbm.dumb.open(self.path, "c") as file:
            for record in new:
                file[json.dumps([record.plural, *record.key])] = compact(record.as_json())

    def delete(self, kind, keys, *, user_id=None, expect=None):
        found = self.fetch(kind, alone(keys, expect), user_id=user_id)
        refuse_unexpected(next(iter(found.values()), None), expect)
        with dbm.dumb.open(self.path, "c") as file:
            for key in found:
                del file[json.dumps([kind.plural, *key])]
        return len(found)

    def delete_where(self, kind, where):
        return self.delete(kind, [record.key for record in self.find(kind, where)])

    def walk(self, kind, *, page=1000, findings=None):
        yield from sorted(self.all_of(kind).values(), key=lambda record: record.key)

    @contextlib.contextmanager
    def at_one_moment(self, *others, user_id=None) -> Iterator[list[Listed]]:
        where = {} if user_id is None else {"user_id": user_id}
        found = {kind: self.find(kind, where, oldest_first=True) for kind in self.domain.kinds}
        yield [Listed(self.domain, {kind: [(one, None) for one in of] for kind, of in found.items()}, {})]

    def count(self, kind, distinct=None):
        found = self.all_of(kind).values()
        return len(found if distinct is None else {getattr(record, distinct) for record in found})

    def size(self):
        return sum(path.stat().st_size for path in Path(self.path).parent.glob(f"{Path(self.path).name}*"))
