from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orbsite.storage.encoding.json_printer import canonical, key_order, number, stringify
from tests.support.time_limits import time_limit

ODD_KEYS = ["0", "1", "9", "10", "007", "-1", "1.5", "4294967294", "4294967295", "__proto__", "", "\ufb33", "😀", "１"]
INTEGERS = st.integers(-(2**53), 2**53) | st.floats(-1e30, 1e30).map(int)
DECIMALS = st.builds(lambda digits, ten: float(f"{digits}e{ten}"), st.integers(-(10**17), 10**17), st.integers(-40, 30))
NUMBERS = INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | DECIMALS


def trees(characters: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    texts = st.text(characters, max_size=8)
    keys = st.sampled_from(ODD_KEYS) | st.integers(0, 2**33).map(str) | texts
    leaves = st.none() | st.booleans() | NUMBERS | texts
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


CLEAN = trees(st.characters(codec="utf-8") | st.sampled_from('\x00\x08\x0c\x1f\x7f\u2028\\"/'))
ANY = trees(st.characters(codec="utf-8") | st.sampled_from("\ud800\udfff\x00\u2029")).map(
    lambda value: json.loads(json.dumps(value))
)

PRINTED = [
    (0, "0"),
    (-0.0, "0"),
    (1.0, "1"),
    (-1.5, "-1.5"),
    (100, "100"),
    (0.1 + 0.2, "0.30000000000000004"),
    (1e16, "10000000000000000"),
    (1e20, "100000000000000000000"),
    (123456789012345680000.0, "123456789012345680000"),
    (999999999999999900000.0, "999999999999999900000"),
    (1e21, "1e+21"),
    (10**21, "1e+21"),
    (1.5e300, "1.5e+300"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (0.000001, "0.000001"),
    (0.0000012, "0.0000012"),
    (1e-7, "1e-7"),
    (-1.25e-9, "-1.25e-9"),
    (5e-324, "5e-324"),
    (2**53, "9007199254740992"),
    (2**60, "1152921504606847000"),
    (2**53 + 1, "9007199254740993"),
    (-(2**53) - 1, "-9007199254740993"),
    (10**400 + 1, "1" + "0" * 399 + "1"),
]


@pytest.mark.parametrize(("value", "printed"), PRINTED, ids=[printed[:30] for _, printed in PRINTED])
def test_numbers_are_printed_as_ecma_262_spells_them(value: float, printed: str) -> None:
    assert number(value) == printed
    assert stringify({"n": value}) == f'{{\n  "n": {printed}\n}}'.encode()
    assert canonical([value]) == f"[{printed}]".encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("printer", [stringify, canonical])
def test_numbers_that_are_not_finite_are_refused(printer: Any, value: float) -> None:
    with pytest.raises(ValueError, match="JSON has no"):
        printer([value])


def test_true_is_no_number() -> None:
    assert stringify([True, False, None]) == b"[\n  true,\n  false,\n  null\n]"


def test_array_indexes_come_first_in_ascending_order() -> None:
    keys = ["b", "10", "007", "2", "4294967295", "a", "4294967294", "-1", "0", "１"]
    wanted = ["0", "2", "10", "4294967294", "b", "007", "4294967295", "a", "-1", "１"]
    assert key_order(keys) == wanted
    assert list(json.loads(stringify({"nested": [dict.fromkeys(keys)]}))["nested"][0]) == wanted


@pytest.mark.parametrize("lone", ["", "\ud800"], ids=["fast printer", "slow printer"])
def test_empty_containers_stay_on_one_line(lone: str) -> None:
    printed = stringify({"a": {}, "b": [], "c": [[], {}], "d": lone})
    escaped = "\\ud800" if lone else ""
    assert printed.decode() == (
        f'{{\n  "a": {{}},\n  "b": [],\n  "c": [\n    [],\n    {{}}\n  ],\n  "d": "{escaped}"\n}}'
    )


def test_lone_surrogates_are_escaped_and_pairs_are_not() -> None:
    assert stringify({"\udfff": "a\ud800b 😀"}) == '{\n  "\\udfff": "a\\ud800b 😀"\n}'.encode()


def test_canonical_json_has_no_lone_surrogates() -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        canonical({"\udfff": 1})


def test_canonical_keys_are_sorted_by_utf_16_units() -> None:
    assert canonical({"\ufb33": 1, "😀": 2, "10": 3, "9": 4, "": 5}) == '{"":5,"10":3,"9":4,"😀":2,"\ufb33":1}'.encode()


def test_raw_parts_keep_their_spelling() -> None:
    assert stringify({"a": msgspec.Raw(b'{"10":1.0,"2":1E5}')}) == b'{\n  "a": {\n    "10": 1.0,\n    "2": 1E5\n  }\n}'


def as_javascript(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_javascript(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_javascript(item) for item in value]
    return ("number", float(value)) if type(value) in (int, float) else value


@given(ANY)
@example({"a": 1e16, "b": -0.0, "c": 2**60})
def test_what_is_printed_parses_to_what_it_was(value: Any) -> None:
    assert as_javascript(json.loads(stringify(value))) == as_javascript(value)


@given(CLEAN)
def test_canonical_json_parses_to_what_it_was(value: Any) -> None:
    assert as_javascript(json.loads(canonical(value))) == as_javascript(value)


def turned_around(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: turned_around(value[key]) for key in reversed(value)}
    return [turned_around(item) for item in value] if isinstance(value, list) else value


@given(CLEAN)
def test_equal_json_has_one_canonical_form_whatever_its_order_of_keys(value: Any) -> None:
    assert canonical(turned_around(value)) == canonical(value) == canonical(json.loads(stringify(value)))


def test_the_printer_agrees_with_node_byte_for_byte() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("NOT COMPARED WITH JAVASCRIPT: there is no `node` on PATH")
    values: list[Any] = [value for value, _ in PRINTED[:-3]]

    @settings(max_examples=300, database=None)
    @given(ANY)
    def collect(value: Any) -> None:
        values.append(value)

    collect()
    script = (
        "const texts = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
        "const print = text => Buffer.from(JSON.stringify(JSON.parse(text), null, 2)).toString('base64');"
        "console.log(JSON.stringify(texts.map(print)));"
    )
    texts = json.dumps([json.dumps(value) for value in values])
    done = subprocess.run(
        [node, "-e", script], input=texts.encode(), capture_output=True, check=True, timeout=time_limit(50)
    )
    printed = [base64.b64decode(one) for one in json.loads(done.stdout)]
    assert len(printed) >= 200
    assert [stringify(value) for value in values] == printed
