from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbsite.storage.encoding.json_parser import (
    MalformedJSON,
    check,
    count_keys,
    parse,
    problems,
    repeated_keys,
    repetitions,
    without_bom,
)
from orbsite.storage.findings import Severity, step
from tests.support.suites import json_files

PARSED_OF_UNDEFINED = {
    "i_number_double_huge_neg_exp.json",
    "i_number_real_underflow.json",
    "i_number_too_big_neg_int.json",
    "i_number_too_big_pos_int.json",
    "i_number_very_big_negative_int.json",
}


def suite(prefix: str, number: int) -> list[Path]:
    found = json_files(f"{prefix}_")
    assert len(found) == number
    return found


def refuses(reader: Callable[[bytes], Any], data: bytes) -> bool:
    try:
        reader(data)
    except MalformedJSON:
        return True
    return False


@pytest.mark.parametrize("reader", [parse, check])
def test_every_valid_file_of_the_suite_is_read(reader: Callable[[bytes], Any]) -> None:
    assert [path.name for path in suite("y", 95) if refuses(reader, path.read_bytes())] == []


@pytest.mark.parametrize("reader", [parse, check])
def test_every_invalid_file_of_the_suite_is_refused(reader: Callable[[bytes], Any]) -> None:
    assert [path.name for path in suite("n", 188) if not refuses(reader, path.read_bytes())] == []


def test_of_what_the_standard_leaves_open_only_underflows_and_big_integers_are_read() -> None:
    def refused(data: bytes) -> bool:
        return refuses(parse, data) or any("surrogate" in one.message for one in problems(parse(data), "$"))

    assert {path.name for path in suite("i", 35) if not refused(path.read_bytes())} == PARSED_OF_UNDEFINED


@pytest.mark.parametrize(
    ("data", "places"),
    [
        (b'{\n  "a": 1,\n}', {(3, 1), (2, 9)}),  # Python 3.13 points at the comma
        (b'{"a": "NaN",\n "b": NaN}', {(2, 7)}),
        (b"[1,\n\n  -Infinity]", {(3, 3)}),
        (b'{"a": 1,\n "\xc3\xa9\xff": 2}', {(2, 4)}),
        (b'["\xc3', {(1, 3)}),
        (b'{"n": "1e400",\r\n"b": [1, 1e400]}', {(2, 10)}),
        (b"[" + b"9" * 5000 + b"]", {(1, 2)}),
        (b"", {(1, 1)}),
        (b"[1] 2", {(1, 5)}),
        (b'"a\nb"', {(1, 3)}),
        (b"\xef\xbb\xbf{}", {(1, 1)}),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, bytes) else "",
)
def test_an_error_names_its_line_and_column(data: bytes, places: set[tuple[int, int]]) -> None:
    with pytest.raises(MalformedJSON) as raised:
        parse(data)
    assert (raised.value.line, raised.value.column) in places
    assert f"line {raised.value.line}, column {raised.value.column}" in str(raised.value)


@pytest.mark.parametrize("data", [b"[NaN]", b"[1,]", b"\xff", b'{"a":1', b"", b"[01]", b"'a'", b"[1]]"])
def test_the_quick_check_tells_the_place_as_the_parser_does(data: bytes) -> None:
    with pytest.raises(MalformedJSON) as parsed:
        parse(data)
    with pytest.raises(MalformedJSON) as checked:
        check(data)
    assert str(checked.value) == str(parsed.value)
    assert checked.value.line == 1


def test_a_byte_order_mark_is_taken_off_with_a_warning() -> None:
    data, findings = without_bom(b"\xef\xbb\xbf{}")
    assert (data, [one.severity for one in findings]) == (b"{}", [Severity.WARNING])
    assert without_bom(b"{}") == (b"{}", [])


def test_a_character_that_lies_across_pieces_is_valid() -> None:
    data = b'"' + b"a" * (2**20 - 2) + "é😀".encode() + b'"'
    check(data)
    assert parse(data).endswith("aé😀")


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b' { "]" : [ ', b" ] } ")])
def test_a_hundred_levels_are_read_and_one_more_is_refused(opening: bytes, closing: bytes) -> None:
    levels = 100 // (opening.count(b"[") + opening.count(b"{"))
    assert parse(opening * levels + b"1" + closing * levels)
    with pytest.raises(MalformedJSON, match="deeper than 100"):
        parse(opening * levels + b"[1]" + closing * levels)


@pytest.mark.parametrize("data", [b"[" * 5000 + b"]" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"[" * 100_000])
def test_depth_beyond_all_bounds_is_refused_without_a_stack_overflow(data: bytes) -> None:
    with pytest.raises(MalformedJSON):
        parse(data)
    with contextlib.suppress(MalformedJSON):  # how deep the fast decoder goes differs between versions of Python
        check(data)


@pytest.mark.parametrize("text", ["[" * 500, "{" * 500 + '"', '\\"' + "[" * 500, "\\" + '"[' * 200, "[{\\\\"])
def test_brackets_within_texts_are_no_levels(text: str) -> None:
    assert parse(json.dumps({text: [text]}).encode()) == {text: [text]}


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ({"a": ["ok", "\x00"]}, ["$.a[1]"]),
        ({"a": {"\ud800": 1}}, ['$.a["\\ud800"] (the key)']),
        ([{"b": "x\udfff"}, "\x00"], ["$[0].b", "$[1]"]),
        ({"n": 2**53 + 1, "m": 2**53, "f": 1e300, "h": 10**400}, ["$.n", "$.h"]),
        ({"fine": ["😀", "", None, True, -1.5, {}]}, []),
    ],
)
def test_what_no_record_may_hold_is_found_at_any_depth(value: Any, paths: list[str]) -> None:
    assert [one.path for one in problems(value, "$")] == paths


@pytest.mark.parametrize("printed", [b"1152921504606847000", b"123456789012345680000", b"-999999999999999900000"])
def test_a_number_that_javascript_printed_is_no_problem(printed: bytes) -> None:
    assert problems(parse(printed), "$") == []


def test_repeated_keys_are_found_with_their_paths_at_every_depth() -> None:
    data = b'{"a": [{"x": 1, "x": {"y": 1, "y": 2}}, {"x": 1}], "b c": 1, "b c": {"z": [[{"q": 1, "q" :1, "q": 2}]]}}'
    tree = parse(data)
    found = repetitions(tree)
    assert {one.path for one in found} == {'$["b c"]', "$.a[0].x", "$.a[0].x.y", '$["b c"].z[0][0].q'}
    assert {one.severity for one in found} == {Severity.WARNING}
    assert tree["b c"]["z"] == [[{"q": 2}]]
    assert repeated_keys(data, count_keys(tree)) == found


KEYS = st.text(st.sampled_from('a"\\:, é\n'), max_size=3)
DOCUMENTS = st.recursive(
    st.none() | st.integers(0, 9) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
SPELLINGS = st.fixed_dictionaries(
    {
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]),
        "indent": st.sampled_from([None, 2]),
        "ensure_ascii": st.booleans(),
    }
)


@given(DOCUMENTS, SPELLINGS)
def test_a_document_without_repetitions_is_never_warned_of(value: Any, spelling: dict[str, Any]) -> None:
    assert repeated_keys(json.dumps(value, **spelling).encode(), count_keys(value)) == []


@pytest.mark.parametrize(
    "data",
    [b'{"a":1,"a":2,"b\\\\":3}', b'{"a" :":","a" :2}', b'{"a"\n:1,"b":":","a"\n:":"}', b'{"a":{"b":1,"c":2},"a":3}'],
)
def test_no_spelling_hides_a_repeated_key(data: bytes) -> None:
    assert [one.path for one in repeated_keys(data, count_keys(json.loads(data)))] == ["$.a"]


@given(st.dictionaries(KEYS, DOCUMENTS, min_size=1, max_size=4), DOCUMENTS, SPELLINGS, st.data())
def test_a_repeated_key_is_always_found(
    value: dict[str, Any], beside: Any, spelling: dict[str, Any], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(sorted(value)))
    again = json.dumps({key: beside}, **spelling).strip()[1:-1].rstrip()
    repeating = json.dumps(value, **spelling).rstrip()[:-1] + "," + again + "}"
    document = f'[{json.dumps(beside, **spelling)},{{"deep":{repeating}}}]'.encode()
    found = repeated_keys(document, count_keys(json.loads(document)))
    assert [one.path for one in found] == [step("$[1].deep", key)]
