"""Counts what the stores hold."""

from __future__ import annotations

from orbsite.operations.report import Report
from orbsite.storage.store import Store


def stats(stores: list[Store]) -> Report:
    """Return, per domain, how many records, users and the like there are, and the bytes that they take."""
    report = Report()
    for store in stores:
        report.section(store.domain.name, ()).facts = measure(store)
    return report


def measure(store: Store) -> dict[str, int]:
    """Return the counts of one store by name, and its size in bytes."""
    domain = store.domain
    counts = {name: store.count(kind, distinct) for name, (kind, distinct) in domain.facets.items()}
    counts |= {kind.plural: store.count(kind) for kind in domain.kinds}
    return counts | {"size": store.size()}
