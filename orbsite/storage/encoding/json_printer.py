"""Prints JSON exactly as JavaScript does, so that reading and writing a file does not change it.

`stringify` is `JSON.stringify(value, null, 2)` and `canonical` is RFC 8785, both as UTF-8. The rules are from ECMA-262:
numbers are printed as by `Number::toString`, and keys that look like array indexes come first.
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

EXACT_INTEGERS = 2**53
_LARGEST_INDEX = 2**32 - 2
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_AT_ONCE = 200
"""The number of items of a `SlicedList` that are printed in one go."""


def stringify(value: Any) -> bytes:
    """Return `value` as `JSON.stringify(value, null, 2)` prints it; integers keep all their digits.

    Raises ValueError for a value that is not JSON.
    """
    try:
        return msgspec.json.format(msgspec.json.encode(_prepared(value)), indent=2)
    except RecursionError as problem:
        raise ValueError("JSON cannot hold a value that contains itself, or that is nested so deep") from problem
    except UnicodeEncodeError:  # a lone surrogate, which only the slow printer escapes
        return _print(value, "\n").encode()


class SlicedList(ABC):
    """A list whose JSON items are made when they are printed, a slice at a time."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    @abstractmethod
    def part(self, start: int, end: int) -> list[Any] | msgspec.Raw:
        """Return the items from `start` up to `end`, as a list or as its JSON."""


def stringified(value: Any, depth: int = 2) -> Iterator[bytes]:
    """Yield the bytes of `stringify` in pieces, none of which is printed in one long call that keeps others waiting.

    The members of objects as deep as `depth` are printed one by one, and a `SlicedList` there by some items at a time.
    """
    yield from _pieces(value, depth, b"\n")


def _pieces(value: Any, depth: int, line: bytes) -> Iterator[bytes]:
    if isinstance(value, SlicedList) and len(value) > _AT_ONCE:
        opening = b"["
        for start in range(0, len(value), _AT_ONCE):
            printed = stringify(value.part(start, start + _AT_ONCE))
            yield opening + printed[1:-2].replace(b"\n", line)
            opening = b","
        yield line + b"]"
        return
    if not depth or not isinstance(value, Mapping) or not value:
        yield stringify(value).replace(b"\n", line)
        return
    inner, opening = line + b"  ", b"{"
    for key in key_order(value):
        yield opening + inner + stringify(key) + b": "
        yield from _pieces(value[key], depth - 1, inner)
        opening = b","
    yield line + b"}"


def compact(value: Any) -> bytes:
    """Return `value` on one line as `JSON.stringify(value)` prints it; it must have no lone surrogates."""
    return msgspec.json.encode(_prepared(value))


def canonical(value: Any) -> bytes:
    """Return `value` in the canonical form of RFC 8785; equal JSON gives equal bytes.

    Raises ValueError for texts with lone surrogates and for numbers that are not finite.
    """
    return _print(value, None).encode()


def number(value: float) -> str:
    """Return a number as JavaScript prints it; an integer that is not exact as a double keeps its digits."""
    if isinstance(value, int):
        if abs(value) < EXACT_INTEGERS or not is_kept(value):
            return str(value)
        value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"JSON has no {value}")
    return _spell(value)


def is_kept(value: int) -> bool:
    """Tell whether JavaScript, which has only doubles, prints an integer with the same digits or the same value."""
    try:
        double = float(value)
    except OverflowError:
        return False
    return int(double) == value or _spell(double) == str(value)


def key_order(keys: Iterable[str]) -> list[str]:
    """Return keys in the order in which JavaScript prints them: array indexes ascending, then the others in order."""
    keys = list(keys)
    indexes = [key for key in keys if _is_index(key)]
    if not indexes:
        return keys
    return sorted(indexes, key=int) + [key for key in keys if not _is_index(key)]


def _is_index(key: str) -> bool:
    return _INDEX.fullmatch(key) is not None and int(key) <= _LARGEST_INDEX


def _spell(value: float) -> str:
    # ECMA-262 Number::toString: the same shortest digits as repr, but with other rules for the exponent
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    return sign + _place(digits, point)


def _place(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:  # noqa: PLR2004 -- limits from ECMA-262, here and below
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:  # noqa: PLR2004
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:  # noqa: PLR2004
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def _prepared(value: Any) -> Any:
    """Return a tree that msgspec's fast encoder prints as JavaScript does; texts need no change."""
    if isinstance(value, str | bool | msgspec.Raw) or value is None:
        return value
    if isinstance(value, int | float):
        return msgspec.Raw(number(value).encode())
    if isinstance(value, (dict, Mapping)) and all(isinstance(key, str) for key in value):
        items = [(key, value[key]) for key in key_order(value)] if any(map(str.isdecimal, value)) else value.items()
        return {key: item if type(item) is str else _prepared(item) for key, item in items}
    if isinstance(value, SlicedList):
        return _prepared(value.part(0, len(value)))
    if isinstance(value, list | tuple):
        return [item if type(item) is str else _prepared(item) for item in value]
    raise ValueError(f"JSON has no {type(value).__name__}, or not with such keys")


def _print(value: Any, line: str | None) -> str:
    """Print `value` without msgspec: on lines that start with `line`, or in canonical form if it is None."""
    if isinstance(value, SlicedList):
        value = value.part(0, len(value))
    if isinstance(value, str):
        return _text(value, escape=line is not None)
    if isinstance(value, msgspec.Raw):
        return bytes(value if line is None else msgspec.json.format(value, indent=2)).decode().replace("\n", line or "")
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return number(value)
    inner = None if line is None else line + "  "
    if isinstance(value, Mapping):
        colon = ":" if line is None else ": "
        escape = line is not None
        keys = key_order(value) if escape else sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return _join("{}", [_text(key, escape=escape) + colon + _print(value[key], inner) for key in keys], line)
    return _join("[]", [_print(item, inner) for item in value], line)


def _join(brackets: str, parts: list[str], line: str | None) -> str:
    if not parts:
        return brackets
    if line is None:
        return brackets[0] + ",".join(parts) + brackets[1]
    return f"{brackets[0]}{line}  {f',{line}  '.join(parts)}{line}{brackets[1]}"


def _text(text: str, *, escape: bool) -> str:
    printed = json.dumps(text, ensure_ascii=False)
    if escape:
        return _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", printed)
    if _LONE_SURROGATE.search(printed):
        raise ValueError("a text holds a lone surrogate, which UTF-8 cannot encode")
    return printed
