from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from luna.records import Profile
from orbsite.storage.findings import Finding
from orbsite.storage.records import sanitizer
from orbsite.storage.records.decoder import read
from orbsite.storage.records.record import Record
from te.records import Reflection

TIME = "2024-01-01T00:00:00.000Z"
NOW = datetime(2025, 6, 1, tzinfo=UTC)
PRINTED_NOW = "2025-06-01T00:00:00.000Z"
REFLECTION = {"id": "r", "input": "i", "output": "o", "tags": ["t"], "createdAt": TIME}
CONSTRAINT = {"id": "c", "type": "block_tool", "active": False}
PROFILE = {"userId": "ana", "modeId": "mars", "preferences": ["p"], "constraints": [CONSTRAINT, "x"], "updatedAt": TIME}
KINDS: dict[type[Record], dict[str, Any]] = {Reflection: REFLECTION, Profile: PROFILE}


def mend(
    kind: type[Record],
    value: Any,
    new_id: Callable[[], object] | None = lambda: "new",
    now: Callable[[], datetime] | None = lambda: NOW,
) -> tuple[Any, list[Finding]]:
    changes: list[Finding] = []
    return sanitizer.mend(kind, value, new_id=new_id, now=now, changes=changes), changes


MISSING = object()


@pytest.mark.parametrize(
    ("name", "wrong", "mended", "changed"),
    [
        ("tags", MISSING, [], ["$.tags"]),
        ("tags", None, [], ["$.tags"]),
        ("tags", "t", [], ["$.tags"]),
        ("tags", ["a", None, 5, True, 1.0, {}, [], "b"], ["a", "5", "true", "1", "b"],
         [f"$.tags[{n}]" for n in range(1, 7)]),
        ("tags", ["a\x00b", "\ud800"], ["ab", "\ufffd"], ["$.tags[0]", "$.tags[1]"]),
        ("id", MISSING, "new", ["$.id"]),
        ("id", "", "new", ["$.id"]),
        ("id", "x" * 256, "new", ["$.id"]),
        ("id", {}, "new", ["$.id"]),
        ("id", 5, "5", ["$.id"]),
        ("input", MISSING, "", ["$.input"]),
        ("input", None, "", ["$.input"]),
        ("input", 1e16, "10000000000000000", ["$.input"]),
        ("output", "a\x00\udfffb", "a\ufffdb", ["$.output"]),
        ("output", False, "false", ["$.output"]),
        ("notes", 5, "5", ["$.notes"]),
        ("notes", ["n"], MISSING, ["$.notes"]),
        ("notes", None, None, []),
        ("createdAt", MISSING, PRINTED_NOW, ["$.createdAt"]),
        ("createdAt", "yesterday", PRINTED_NOW, ["$.createdAt"]),
        ("createdAt", 1704067200, PRINTED_NOW, ["$.createdAt"]),
        ("createdAt", "2024-01-01T24:00:00Z", PRINTED_NOW, ["$.createdAt"]),
        ("createdAt", "2024-01-01", TIME, ["$.createdAt"]),
        ("score", 1.5, 1.5, []),
        ("score", {"a": ["\x00", "\x00"]}, MISSING, ["$.score.a[0]"]),
        ("score\ud800", 1, MISSING, ['$["score\\ud800"] (the key)']),
    ],
)  # fmt: skip
def test_a_reflection_is_mended_and_every_change_is_listed(
    name: str, wrong: Any, mended: Any, changed: list[str]
) -> None:
    value = {key: item for key, item in (REFLECTION | {name: wrong}).items() if item is not MISSING}
    expected = {key: item for key, item in (REFLECTION | {name: mended}).items() if item is not MISSING}
    record, changes = mend(Reflection, value)
    assert record.as_json() == expected
    assert [one.path for one in changes] == changed


@pytest.mark.parametrize("huge", [10**400, [10**400]], ids=["number", "list"])
@pytest.mark.parametrize("name", ["id", "input", "tags", "notes", "score"])
def test_a_number_beyond_a_double_is_no_reason_to_fail(name: str, huge: Any) -> None:
    record, changes = mend(Reflection, REFLECTION | {name: huge})
    assert read(Reflection, record.as_json()).record == record
    assert changes


@pytest.mark.parametrize(
    ("wrong", "mended", "changed"),
    [
        ([CONSTRAINT, "x", 7, None, "y\x00"], [CONSTRAINT, "x", "7", "y"], ["[2]", "[3]", "[4]"]),
        ([CONSTRAINT | {"toolId": None, "later": 1}], [CONSTRAINT | {"toolId": None, "later": 1}], []),
        ([CONSTRAINT | {"active": "no"}, CONSTRAINT], [CONSTRAINT | {"active": True}, CONSTRAINT], ["[0].active"]),
        ([CONSTRAINT | {"active": "\ud800"}], [CONSTRAINT | {"active": True}], ["[0].active"]),
        ([CONSTRAINT | {"maxRisk": 2}], [CONSTRAINT | {"maxRisk": "2"}], ["[0].maxRisk"]),
        ([CONSTRAINT | {"appliesToRoles": ["a", 1, {}]}], [CONSTRAINT | {"appliesToRoles": ["a", "1"]}],
         ["[0].appliesToRoles[1]", "[0].appliesToRoles[2]"]),
        ([{"id": "c", "description": "d"}], [{"id": "c", "type": "other", "active": True, "description": "d"}],
         ["[0].type", "[0].active"]),
        ([{"type": "t", "active": True}], [{"id": "new", "type": "t", "active": True}], ["[0].id"]),
        (None, [], [""]),
        ({"0": CONSTRAINT}, {"0": CONSTRAINT}, []),
        ({"0": CONSTRAINT, "1": "\x00"}, {"0": CONSTRAINT}, ['["1"]']),
    ],
)  # fmt: skip
def test_every_valid_constraint_is_kept_in_its_form(wrong: Any, mended: list[Any], changed: list[str]) -> None:
    record, changes = mend(Profile, PROFILE | {"constraints": wrong})
    assert record.as_json() == PROFILE | {"constraints": mended}
    assert [one.path for one in changes] == [f"$.constraints{path}" for path in changed]


def test_a_missing_mode_is_the_default_one() -> None:
    record, changes = mend(Profile, {"userId": "ana"})
    assert record.as_json() == {
        "userId": "ana", "modeId": "default", "preferences": [], "constraints": [], "updatedAt": PRINTED_NOW,
    }  # fmt: skip
    assert [one.path for one in changes] == ["$.modeId", "$.preferences", "$.constraints", "$.updatedAt"]


@pytest.mark.parametrize(
    "user",
    [MISSING, None, "", "\x00", [], {}, "x" * 256],
    ids=lambda user: "missing" if user is MISSING else repr(user),
)
def test_a_profile_of_which_no_user_can_be_told_is_refused(user: Any) -> None:
    value = {key: item for key, item in (PROFILE | {"userId": user}).items() if item is not MISSING}
    assert mend(Profile, value)[0] is None


@pytest.mark.parametrize("whole", [None, [], [REFLECTION], "text", 5, True], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_object_is_refused(kind: type[Record], whole: Any) -> None:
    assert mend(kind, whole)[0] is None


def test_nothing_is_made_up_where_it_is_not_wanted() -> None:
    assert mend(Reflection, REFLECTION | {"id": ""}, new_id=None)[0] is None
    assert mend(Reflection, REFLECTION | {"createdAt": "?"}, now=None)[0] is None
    assert mend(Profile, PROFILE | {"updatedAt": None}, now=None)[0] is None
    record, changes = mend(Profile, PROFILE | {"constraints": [{"type": "t"}, "x"]}, new_id=None)
    assert (record.constraints, [one.path for one in changes if one.path.endswith("]")]) == (
        ("x",),
        ["$.constraints[0]"],
    )
    assert mend(Reflection, REFLECTION | {"tags": 5}, new_id=None, now=None)[0].tags == ()


TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from("\x00\ud800\udfff"), max_size=4)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from([2**53 + 1, TIME, "x" * 256])
)
CLEAN = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=3)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("makers", [{}, {"new_id": None, "now": None}], ids=["makes up", "makes nothing up"])
@given(data=st.data())
def test_whatever_comes_in_what_comes_out_is_valid_or_nothing(
    kind: type[Record], makers: dict[str, Any], data: st.DataObject
) -> None:
    constraint = st.fixed_dictionaries({}, optional=dict.fromkeys(["toolId", "appliesToRoles", *CONSTRAINT], ANYTHING))
    sound = {name: st.just(item) | ANYTHING for name, item in KINDS[kind].items()}
    likely = st.fixed_dictionaries({}, optional=sound | {"notes": ANYTHING, "extra": ANYTHING})
    lists = st.fixed_dictionaries({"userId": st.just("u"), "constraints": st.lists(constraint | ANYTHING, max_size=3)})
    value = data.draw(ANYTHING | likely | lists)
    record, changes = mend(kind, value, **makers)
    if record is not None:
        assert read(kind, record.as_json()).record == record
        assert bool(changes) == (read(kind, value).record is None)


@pytest.mark.parametrize("kind", KINDS)
@given(unknown=st.dictionaries(CLEAN.map("x{}".format), st.none() | CLEAN))
@example(unknown={"notes": None, "updatedAt2": {}, "toolId": [1.0]})
def test_a_valid_record_is_returned_as_it_is(kind: type[Record], unknown: dict[str, Any]) -> None:
    value = KINDS[kind] | unknown
    before = json.dumps(value)
    record, changes = mend(kind, value, new_id=None, now=None)
    assert (record, changes) == (read(kind, value).record, [])
    assert record.as_json() == value
    assert json.dumps(value) == before
