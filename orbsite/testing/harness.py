"""A store under test: how it is opened, and what lies in it without the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orbsite.storage.base.store import Store
from orbsite.storage.memory.store import MemoryStore
from orbsite.storage.records.domain import Domain
from orbsite.testing.cases import Case

TO_SPOIL = "a text that stands nowhere else"
"""The witness of the record that `Harness.spoil` makes undecodable."""

Look = Callable[[Case], dict[tuple[str, ...], Any]]


@dataclass
class Harness:
    """Opens a store of a domain, opens it again as another process would, and looks behind it."""

    name: str
    open: Callable[[Domain], Store]
    look: Look | None = None
    """Returns the witness of each record by key, without the store. By default another instance of the store says it,
    so that a write and a read that are wrong together show only in what the other tests read."""
    spoil: Callable[[Case, Any], bool] = lambda *_: False
    """Makes a record, whose witness is `TO_SPOIL`, undecodable without the store; False where nothing can be."""

    def witnesses(self, case: Case) -> dict[tuple[str, ...], Any]:
        """Return the witness of each record by key, through the back door if there is one."""
        if self.look is not None:
            return self.look(case)
        return {record.key: getattr(record, case.witness) for record in self.open(case.domain).walk(case.kind)}


def memory(kind: type[MemoryStore] = MemoryStore) -> Harness:
    """Return the harness of a store in memory, which is the oracle for all others."""
    kept: dict[str, MemoryStore] = {}

    def look(case: Case) -> dict[tuple[str, ...], Any]:
        records = vars(kept[case.domain.name])["_indexes"][case.kind].records if kept else {}
        return {key: getattr(record, case.witness) for key, record in records.items()}

    def open_store(domain: Domain) -> Store:
        return kept.setdefault(domain.name, kind(domain))

    return Harness("memory", open_store, look)
