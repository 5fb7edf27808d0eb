"""The diff of two versions of a record, field by field: texts are compared by lines, lists by items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.records.record import Record, field_names

_CONTEXT_LINES = 2
"""The number of unchanged lines shown before and after each difference."""
_MOST_LINES, _MOST_CHARACTERS, _MOST_WIDTH = 1000, 200_000, 2000
"""Larger texts are shown without a comparison, whose time can grow with the product of both lengths."""
_MOST_COMPARISONS = 20_000_000
"""Above this estimate, the comparison ignores lines that are repeated often."""
SAME, REMOVED, ADDED, GAP = " ", "-", "+", "…"


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a diff with its sign: `-` removed, `+` added, a space unchanged, `…` lines left out."""

    sign: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class FieldDiff:
    """The diff of one field."""

    name: str
    lines: tuple[DiffLine, ...]


def differences(before: Record | None, after: Record | None) -> list[FieldDiff]:
    """Return the fields that differ, in the order of the JSON file; None stands for a record without fields."""
    known = [name for record in (before, after) if record for _, name in field_names(type(record))]
    old, new = (record.as_json() if record else None for record in (before, after))
    return differences_of_json(old, new, known)


def differences_of_json(
    before: dict[str, Any] | None, after: dict[str, Any] | None, known: Iterable[str] = ()
) -> list[FieldDiff]:
    """Return the fields that differ between two records as JSON, whose texts may be truncated; `known` come first."""
    old, new = _printed(before), _printed(after)
    names = dict.fromkeys((*known, *old, *new))
    pairs = ((name, old.get(name), new.get(name)) for name in names)
    return [FieldDiff(name, tuple(_diff_lines(a or [], b or []))) for name, a, b in pairs if a != b]


def as_text(name: str, text: str) -> FieldDiff:
    """Return a text as unchanged lines, without a comparison."""
    return FieldDiff(name, tuple(DiffLine(SAME, line) for line in text.split("\n")))


def _printed(record: dict[str, Any] | None) -> dict[str, list[str]]:
    """Return the lines of each field of a record, including unknown keys."""
    return {name: _lines(value) for name, value in (record or {}).items()}


def _lines(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split("\n")
    if isinstance(value, list):
        return [line for item in value for line in _item(item)]
    return _json(value)


def _item(item: Any) -> list[str]:
    return [item] if isinstance(item, str) and "\n" not in item else _json(item)


def _json(value: Any) -> list[str]:
    return stringify(value).decode().split("\n")


def _diff_lines(old: list[str], new: list[str]) -> Iterator[DiffLine]:
    if max(len(old), len(new)) > _MOST_LINES or sum(map(len, old)) + sum(map(len, new)) > _MOST_CHARACTERS:
        yield from _truncated(REMOVED, old)
        yield from _truncated(ADDED, new)
        return
    matcher = SequenceMatcher(None, old, new, autojunk=_is_slow(old, new))
    for number, group in enumerate(matcher.get_grouped_opcodes(_CONTEXT_LINES)):
        if number or group[0][1] or group[0][3]:
            yield DiffLine(GAP)
        for tag, a, b, c, d in group:
            if tag == "equal":
                yield from (DiffLine(SAME, text) for text in old[a:b])
            else:
                yield from (DiffLine(REMOVED, text) for text in old[a:b])
                yield from (DiffLine(ADDED, text) for text in new[c:d])


def _is_slow(old: list[str], new: list[str]) -> bool:
    """Return whether repeated lines would make the search for the best match take minutes."""
    times = Counter(new)
    return sum(times[line] for line in old) * min(len(old), len(new)) > _MOST_COMPARISONS


def _truncated(sign: str, lines: list[str]) -> Iterator[DiffLine]:
    """Yield the first lines, then the number of lines left out."""
    for text in lines[:_MOST_LINES]:
        yield DiffLine(sign, text[:_MOST_WIDTH])
    if len(lines) > _MOST_LINES:
        yield DiffLine(GAP, f"{len(lines) - _MOST_LINES} more lines")
