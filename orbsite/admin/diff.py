"""What differs between two states of a record, field by field, as lines: of texts their lines, of lists their items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.records.record import Record, field_names

_AROUND = 2
"""So many lines that are the same are shown before and after what differs."""
_MOST_LINES, _LONGEST, _WIDEST = 1000, 200_000, 2000
"""Beyond, nobody looks for what is the same: that may take as long as the product of both."""
_MOST_COMPARED = 20_000_000
"""Beyond, lines that come again and again are not where a match begins."""
SAME, OUT, IN, GAP = " ", "-", "+", "…"


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line, and what became of it: `-` is gone, `+` is new, a space is the same, `…` stands for more of these."""

    sign: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class FieldDiff:
    """A field that differs."""

    name: str
    lines: tuple[DiffLine, ...]


def differences(before: Record | None, after: Record | None) -> list[FieldDiff]:
    """Return the fields that differ, in the order of the files; of a record that is not there, all."""
    known = [name for record in (before, after) if record for _, name in field_names(type(record))]
    old, new = (one.as_json() if one else None for one in (before, after))
    return differences_of_json(old, new, known)


def differences_of_json(
    before: dict[str, Any] | None, after: dict[str, Any] | None, known: Iterable[str] = ()
) -> list[FieldDiff]:
    """Return the same of records as JSON, of which texts may have been cut short; `known` fields come first."""
    old, new = _printed(before), _printed(after)
    names = dict.fromkeys((*known, *old, *new))
    pairs = ((name, old.get(name), new.get(name)) for name in names)
    return [FieldDiff(name, tuple(_compared(a or [], b or []))) for name, a, b in pairs if a != b]


def as_text(name: str, text: str) -> FieldDiff:
    """Return a text as it is, with nothing to compare it with."""
    return FieldDiff(name, tuple(DiffLine(SAME, line) for line in text.split("\n")))


def _printed(record: dict[str, Any] | None) -> dict[str, list[str]]:
    """Return the lines of each field that a record has, unknown keys too."""
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


def _compared(old: list[str], new: list[str]) -> Iterator[DiffLine]:
    if max(len(old), len(new)) > _MOST_LINES or sum(map(len, old)) + sum(map(len, new)) > _LONGEST:
        yield from _cut(OUT, old)
        yield from _cut(IN, new)
        return
    matcher = SequenceMatcher(None, old, new, autojunk=_is_slow(old, new))
    for number, group in enumerate(matcher.get_grouped_opcodes(_AROUND)):
        if number or group[0][1] or group[0][3]:
            yield DiffLine(GAP)
        for tag, a, b, c, d in group:
            if tag == "equal":
                yield from (DiffLine(SAME, text) for text in old[a:b])
            else:
                yield from (DiffLine(OUT, text) for text in old[a:b])
                yield from (DiffLine(IN, text) for text in new[c:d])


def _is_slow(old: list[str], new: list[str]) -> bool:
    """Tell whether lines are repeated so often that to look for the best match may take minutes."""
    times = Counter(new)
    return sum(times[line] for line in old) * min(len(old), len(new)) > _MOST_COMPARED


def _cut(sign: str, lines: list[str]) -> Iterator[DiffLine]:
    """Yield the first of many lines, and how many there are."""
    for text in lines[:_MOST_LINES]:
        yield DiffLine(sign, text[:_WIDEST])
    if len(lines) > _MOST_LINES:
        yield DiffLine(GAP, f"{len(lines) - _MOST_LINES} more lines")
