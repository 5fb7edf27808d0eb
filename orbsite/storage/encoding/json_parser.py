"""The strict JSON parser for files, imports and requests.

It accepts RFC 8259 JSON in UTF-8, nested up to 100 levels, and nothing else: no NaN, no Infinity, and no number that is
too large for a double. Errors have a line and a column.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NoReturn, TypeAlias

import msgspec

from orbsite.storage.encoding.json_printer import is_kept
from orbsite.storage.findings import ROOT, Finding, error, path_to, warning

DEEPEST = 100
UNCLEAN = re.compile("[\x00\ud800-\udfff]")
_BOM = codecs.BOM_UTF8
_PIECE = 1 << 16
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"\\'))
_BEFORE_VALUES = (b",", b":", b"[", b"{")
_TEXT = re.compile(rb'"[^"]*"')
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s\[\]{}:,"]++', re.DOTALL)
_SPACED_KEY = re.compile(rb'"[ \t\r\n]+:')


class MalformedJSON(ValueError):
    """Text that is not JSON. `line` and `column` count from 1, the column in characters; None if not known."""

    def __init__(self, reason: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(reason if line is None else f"{reason} (line {line}, column {column})")
        self.reason, self.line, self.column = reason, line, column


class _RefusedNumber(ValueError):
    """A number that is not JSON, or too large for a double; `token` is its text."""

    def __init__(self, token: str, reason: str) -> None:
        super().__init__(reason)
        self.token = token


class Repeating(dict[str, Any]):
    """An object with repeated keys. The last value of a key counts, as in other JSON parsers."""

    keys_again: tuple[str, ...] = ()


def without_bom(data: bytes) -> tuple[bytes, list[Finding]]:
    """Return `data` without the byte order mark that some editors add, and a warning if there was one."""
    if data.startswith(_BOM):
        return data[len(_BOM) :], [warning(ROOT, "the file starts with a byte order mark; it was ignored")]
    return data, []


class TooMany(ValueError):
    """JSON with more values than the caller allows."""


def refuse_too_many(data: bytes, most: int) -> None:
    """Raise TooMany for JSON with more than `most` values: objects, lists, keys, texts, numbers and so on.

    It counts without building values, and stops at the limit. The characters within texts do not count as values.
    """
    if sum(map(data.count, _BEFORE_VALUES)) + data.count(b'"') // 2 < most:
        return
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    number, at = 1, 0
    for _ in range(most + 1):  # each step ends after a text, which is a value
        start = plain.find(b'"', at)
        stop = len(plain) if start < 0 else start
        number += sum(plain.count(mark, at, stop) for mark in _BEFORE_VALUES)
        if start < 0 and number <= most:
            return
        if number > most:
            break
        at = plain.find(b'"', start + 1) + 1 or len(plain)
    raise TooMany


def check(data: bytes) -> None:
    """Raise MalformedJSON with line and column if `data` is not UTF-8 or not JSON, without building values.

    The nesting depth is limited only by the stack; every part that becomes a record is also read by `parse`.
    """
    _check_utf8(data)
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except RecursionError:
        _too_deep()
    except msgspec.DecodeError:
        parse(data)  # raises with line and column; accepts lone surrogates, which are errors of a record only


def parse(data: bytes) -> Any:
    """Parse JSON; objects with repeated keys are returned as `Repeating`.

    Raises MalformedJSON. It does not check the rules for texts and numbers in records: see `problems`.
    """
    _check_utf8(data)
    _check_depth(data)
    try:
        return json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except json.JSONDecodeError as problem:
        raise MalformedJSON(problem.msg, problem.lineno, problem.colno) from problem
    except RecursionError:
        _too_deep()
    except _RefusedNumber as problem:
        raise MalformedJSON(str(problem), *_place_of(problem.token, data.decode())) from problem


def problems(value: Any, path: str, *, depth: int = 0, most: int | None = None) -> list[Finding]:
    """Return an error for each NUL, lone surrogate, and value that JavaScript would change or refuse, at any depth.

    `depth` is the number of levels around the value. If there are more than `most` findings, the last one is the number
    of those that are not listed.
    """
    return _listed(_flaws(value, depth), path, error, most)


def repetitions(value: Any, path: str = ROOT, *, most: int | None = None) -> list[Finding]:
    """Return a warning for each repeated key in the objects of a parsed tree; `most` limits them as in `problems`."""
    return _listed(_repeated(value), path, warning, most)


_Place: TypeAlias = tuple[Any, str | int] | None
"""A key or index, and the place of its container. It becomes a path only for findings, because paths are slow."""


def _listed(
    flaws: Iterator[tuple[_Place, str, str]], path: str, kind: Callable[[str, str], Finding], most: int | None
) -> list[Finding]:
    found = [kind(_path_of(place, path) + where, message) for place, where, message in islice(flaws, most)]
    more = sum(1 for _ in flaws)
    return [*found, kind(path, f"{more} more of this kind are not listed")] if more else found


def _path_of(place: _Place, start: str) -> str:
    keys = []
    while place is not None:
        place, key = place
        keys.append(key)
    return path_to(reversed(keys), start)


def _flaws(value: Any, around: int) -> Iterator[tuple[_Place, str, str]]:
    for place, item, depth in _walked(value, around):
        if isinstance(item, str):
            if message := _unclean(item):
                yield place, "", message
        elif depth >= DEEPEST:
            yield place, "", f"nested deeper than {DEEPEST} levels"
        elif isinstance(item, dict):
            yield from _flaws_of_keys(item, place)
        elif not isinstance(item, list) and (message := _number_problem(item)):
            yield place, "", message


def _walked(value: Any, around: int = 0) -> Iterator[tuple[_Place, Any, int]]:
    """Yield a value and all values in it with place and depth, in the order of the text, up to DEEPEST levels."""
    pending: list[Iterator[tuple[_Place, Any]]] = [iter([(None, value)])]
    while pending:
        for place, item in pending[-1]:
            depth = around + len(pending) - 1
            yield place, item, depth
            if depth < DEEPEST and item and isinstance(item, dict | list):
                pending.append(_children(item, place))
                break
        else:
            pending.pop()


def _children(item: Any, place: _Place) -> Iterator[tuple[_Place, Any]]:
    if isinstance(item, list):
        return (((place, index), child) for index, child in enumerate(item))
    if not all(isinstance(key, str) for key in item):
        return iter(())
    return (((place, key), child) for key, child in item.items())


def _flaws_of_keys(item: Any, place: _Place) -> Iterator[tuple[_Place, str, str]]:
    if not all(isinstance(key, str) for key in item):
        yield place, "", "the keys of an object are texts"
        return
    for key in item:
        if message := _unclean(key):
            yield (place, key), " (the key)", message


def _repeated(value: Any) -> Iterator[tuple[_Place, str, str]]:
    for place, item, _ in _walked(value):
        for key in getattr(item, "keys_again", ()):
            yield (place, key), "", "the key stands here more than once; the last one counts"


def _number_problem(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"JSON has no number {value}"
    if isinstance(value, int) and not is_kept(value):
        return "the integer is so large that JavaScript would change it"
    return "" if isinstance(value, int | float | None) else f"JSON has no {type(value).__name__}"


def refuse_no_tree(value: Any, depth: int = 0) -> None:
    """Raise ValueError for a value that is not JSON: too deep, containing itself, or with keys that are not texts."""
    if depth > DEEPEST:
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the keys of an object are texts")
        for item in value.values():
            refuse_no_tree(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_no_tree(item, depth + 1)


def repeated_keys(data: bytes, keys: int) -> list[Finding]:
    """Return a warning for each repeated key of a document in which a fast decoder found `keys` keys.

    The fast decoder does not detect repeated keys. An unescaped quote followed by a colon ends a key, so if the number
    of these quotes equals `keys`, no key is repeated, and the slow parser is not needed. The count is not reliable if a
    text ends in a backslash or white space follows a key; the slow parser is then used.
    """
    is_escaping = b"\\" in data
    quotes_are_plain = not (is_escaping and b'\\\\"' in data) and not _SPACED_KEY.search(data)
    if quotes_are_plain and data.count(b'":') - (data.count(b'\\":') if is_escaping else 0) == keys:
        return []
    try:
        return repetitions(parse(data))
    except MalformedJSON:  # a number is too large or a value too deep: the item already has a finding
        return []


def count_keys(value: Any) -> int:
    """Return the number of keys in all objects of a parsed tree."""
    if isinstance(value, dict):
        return len(value) + sum(count_keys(item) for item in value.values())
    if isinstance(value, list):
        return sum(count_keys(item) for item in value)
    return 0


def _unclean(text: str) -> str:
    match = UNCLEAN.search(text)
    if match is None:
        return ""
    what = "a NUL character" if match[0] == "\x00" else "a lone surrogate"
    return f"the text holds {what} at character {match.start()}"


def _check_utf8(data: bytes) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(data)
    try:
        for at in range(0, len(data), _PIECE):
            decoder.decode(view[at : at + _PIECE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as problem:
        valid = data.decode(errors="surrogateescape").partition(_first_escape(data))[0]
        raise MalformedJSON(f"invalid UTF-8: {problem.reason}", *_line_and_column(valid)) from problem


def _first_escape(data: bytes) -> str:
    match = re.search("[\udc80-\udcff]", data.decode(errors="surrogateescape"))
    return match[0] if match else ""


def _check_depth(data: bytes) -> None:
    """Raise MalformedJSON for nesting that would exhaust a parser's stack, without parsing."""
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth = 0
    for bracket in _TEXT.sub(b"", plain.translate(None, _NOT_STRUCTURE)):
        depth += 1 if bracket in b"[{" else -1
        if depth > DEEPEST:
            _too_deep()


def _too_deep() -> NoReturn:
    raise MalformedJSON(f"nested deeper than {DEEPEST} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    repeating = Repeating(plain)
    repeating.keys_again = tuple(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
    return repeating


def _no_constant(token: str) -> NoReturn:
    raise _RefusedNumber(token, f"{token} is no JSON number")


def _finite(token: str) -> float:
    value = float(token)
    if math.isinf(value):
        raise _RefusedNumber(token, "a number is too large for a double")
    return value


def _integer(token: str) -> int:
    try:
        return int(token)
    except ValueError:  # Python's limit on the digits of an integer
        raise _RefusedNumber(token, f"an integer has {len(token)} digits") from None


def _place_of(token: str, text: str) -> tuple[int, int]:
    starts = (match.start() for match in _TOKEN.finditer(text) if match[0] == token)
    return _line_and_column(text[: next(starts, 0)])


def _line_and_column(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")
