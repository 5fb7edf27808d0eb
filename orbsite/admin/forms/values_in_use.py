"""The values that objects in a JSON column have, to suggest them in a form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from orbsite.storage.sql.models import RecordRow

MOST_ROWS = 500
"""The number of rows that are looked at, the newest ones."""
MOST_VALUES = 50
_LONGEST = 100


def values_in_use(model: type[RecordRow], column: str, names: Iterable[str]) -> dict[str, list[str]]:
    """Return, by key, the most frequent texts in the objects of a column with lists, by one query over a bounded range.

    Sealed columns are left out.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    rows = model._base_manager.order_by("-pk").values_list(column, flat=True)[:MOST_ROWS] if counts else ()
    for items in rows:
        for item in items if isinstance(items, list) else ():
            _count(item, counts)
    return {name: [value for value, _ in found.most_common(MOST_VALUES)] for name, found in counts.items()}


def _count(item: Any, counts: dict[str, Counter[str]]) -> None:
    for name, found in counts.items():
        value = item.get(name) if isinstance(item, dict) else None
        if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable():
            found[value] += 1
