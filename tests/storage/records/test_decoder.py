from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luna.records import ActiveMode, Constraint, Profile
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.errors import InvalidRecord
from orbsite.storage.findings import errors
from orbsite.storage.records.decoder import Reader, Reading, checked, read
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Extra, Record, field_names
from te.records import Reflection
from tests.support.factories import BEGIN, ActiveModeFactory, ProfileFactory, ReflectionFactory

NOW = "2024-01-01T00:00:00.000Z"
REFLECTION = {"id": "r", "input": "i", "output": "o", "tags": ["t"], "notes": "n", "createdAt": NOW}
CONSTRAINT = {"id": "c", "type": "other", "active": True, "description": "d"}
PROFILE = {"userId": "ana", "modeId": "mars", "preferences": ["p"], "constraints": [CONSTRAINT, "x"], "updatedAt": NOW}
KINDS: dict[type[Record], dict[str, Any]] = {Reflection: REFLECTION, Profile: PROFILE}


def piece(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def both(kind: type[Record], value: Any, path: str = "$") -> Reading[Any]:
    """Read a value through both doors, and return what both of them say."""
    fast, slow = Reader(kind).read(piece(value), path), read(kind, value, path)
    assert repr(fast.record) == repr(slow.record)
    assert fast.findings == slow.findings
    assert fast.keys == slow.keys
    return slow


def paths(reading: Reading[Any]) -> list[str]:
    return [one.path for one in errors(reading.findings)]


NAMES = ["extra", "sessionId", "userId", "score", "notes", "id", "createdAt", "toolId", "active", "1", "\ud800"]
TIMES = [
    NOW, "2024-01-01T00:00:00Z", "2024-01-01 00:00:00z", "2024-01-01", "20240101T000000Z",
    "2024-01-01T00:00:00.1234567Z", "2024-01-01T05:30:00+05:30", "2024-01-01T05:30:00+0530",
    "0001-01-01T00:00:00+14:00", "0000-01-01T00:00:00Z",
    "2024-06-30T23:59:60Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00+05:75", "infinity",
]  # fmt: skip
JUNK = (
    st.sampled_from([None, True, 0, 1.5, 2**53 + 1, "", "x" * 255, "x" * 256, "\x00", "a\udfff", [], {}, ["\x00"], "5"])
    | st.sampled_from(TIMES)
    | st.text(max_size=3)
    | st.lists(st.text(max_size=2) | st.none() | st.integers(), max_size=3)
    | st.dictionaries(st.sampled_from(NAMES), st.text(max_size=3) | st.booleans(), max_size=3)
)


def innermost(value: dict[str, Any]) -> dict[str, Any]:
    constraints = value.get("constraints")
    first = constraints[0] if isinstance(constraints, list) and constraints else None
    return first if isinstance(first, dict) else value


@st.composite
def damaged(draw: st.DrawFn) -> tuple[type[Record], dict[str, Any]]:
    kind = draw(st.sampled_from([Reflection, Profile]))
    value: dict[str, Any] = json.loads(json.dumps(KINDS[kind]))
    for _ in range(draw(st.integers(0, 3))):
        part = innermost(value) if draw(st.booleans()) else value
        name = draw(st.sampled_from([*KINDS[kind], *CONSTRAINT, *NAMES]))
        part[name] = draw(JUNK)
        if draw(st.integers(0, 3)) == 0:
            del part[name]
    return kind, value


@settings(max_examples=500)
@given(damaged())
def test_the_fast_path_and_the_slow_path_agree(case: tuple[type[Record], Any]) -> None:
    both(*case)


@pytest.mark.parametrize(("kind", "name"), [(Reflection, "createdAt"), (Profile, "updatedAt")])
@pytest.mark.parametrize("time", TIMES)
def test_both_paths_read_the_same_times(kind: type[Record], name: str, time: str) -> None:
    both(kind, KINDS[kind] | {name: time})


@pytest.mark.parametrize("time", ["2024-01-01", "2024-01-01T00:00:00.0000001Z"])
def test_an_assumed_zone_and_cut_digits_are_warnings(time: str) -> None:
    reading = both(Reflection, REFLECTION | {"createdAt": time})
    assert reading.record == ReflectionFactory(**vars_of(REFLECTION), created_at=BEGIN)
    assert [(one.path, one.severity) for one in reading.findings] == [("$.createdAt", "warning")]


def vars_of(value: dict[str, Any]) -> dict[str, Any]:
    fields = {"user_id": None, "session_id": None, "id": value["id"], "input": value["input"]}
    return fields | {"output": value["output"], "tags": tuple(value["tags"]), "notes": value["notes"]}


def test_every_problem_of_a_record_is_listed_with_its_path() -> None:
    profile = {
        "userId": "",
        "modeId": 5,
        "preferences": ["p", None, "\x00"],
        "constraints": ["x", 7, {"type": [], "active": "yes", "appliesToRoles": ["r", 1], "a b": "\ud800"}],
        "n": [2**53 + 1],
    }
    assert paths(both(Profile, profile, "$.ana-0.profiles.mars")) == [
        "$.ana-0.profiles.mars.userId",
        "$.ana-0.profiles.mars.modeId",
        "$.ana-0.profiles.mars.preferences[1]",
        "$.ana-0.profiles.mars.preferences[2]",
        "$.ana-0.profiles.mars.constraints[1]",
        "$.ana-0.profiles.mars.constraints[2].id",
        "$.ana-0.profiles.mars.constraints[2].type",
        "$.ana-0.profiles.mars.constraints[2].active",
        "$.ana-0.profiles.mars.constraints[2].appliesToRoles[1]",
        '$.ana-0.profiles.mars.constraints[2]["a b"]',
        "$.ana-0.profiles.mars.updatedAt",
        "$.ana-0.profiles.mars.n[0]",
    ]


@pytest.mark.parametrize("name", ["id", "input", "output", "createdAt", "notes", "userId", "sessionId"])
@pytest.mark.parametrize("wrong", [True, 5, 1.5, [], {}, "a\x00", "\ud800"], ids=repr)
def test_text_is_text_and_nothing_else(name: str, wrong: Any) -> None:
    reading = both(Reflection, REFLECTION | {name: wrong})
    assert (reading.record, paths(reading)) == (None, [f"$.{name}"])


@pytest.mark.parametrize("wrong", [0, 1, "true", None, 1.0, [], "\x00", "\ud800"], ids=repr)
def test_true_and_false_are_nothing_else(wrong: Any) -> None:
    reading = both(Profile, PROFILE | {"constraints": [CONSTRAINT | {"active": wrong}]})
    assert (reading.record, paths(reading)) == (None, ["$.constraints[0].active"])


@pytest.mark.parametrize("wrong", [None, "t", {}, {"0": "t"}, 1, True], ids=repr)
def test_a_list_is_nothing_else(wrong: Any) -> None:
    assert paths(both(Reflection, REFLECTION | {"tags": wrong})) == ["$.tags"]


@pytest.mark.parametrize("whole", [None, [], "text", 5, [REFLECTION]], ids=repr)
def test_a_record_is_an_object(whole: Any) -> None:
    assert paths(both(Reflection, whole)) == ["$"]


@pytest.mark.parametrize(("length", "found"), [(0, ["$.id"]), (1, []), (255, []), (256, ["$.id"])])
def test_an_id_has_one_to_255_characters(length: int, found: list[str]) -> None:
    assert paths(both(Reflection, REFLECTION | {"id": "😀" * length})) == found


@pytest.mark.parametrize("name", ["..", "a/b\\c", "%00", "__proto__", "' OR 1=1", "مهمة", " "])
def test_an_id_is_opaque(name: str) -> None:
    assert both(Reflection, REFLECTION | {"id": name}).record.key[-1] == name


@pytest.mark.parametrize(
    "unknown",
    [{"score": 1.5, "z": {"deep": [None, True]}}, {"notes": None}, {"extra": {"a": 1}}, {"extra": None},
     {"extra": "x", "__proto__": []}, {"user_id": "x", "createdat": ""}, {"userId": None, "sessionId": None}],
    ids=repr,
)  # fmt: skip
def test_unknown_keys_and_explicit_nulls_are_kept(unknown: dict[str, Any]) -> None:
    value = {name: item for name, item in REFLECTION.items() if name not in unknown} | unknown
    record = both(Reflection, value).record
    assert record.extra == unknown
    assert record.as_json() == value
    profile = both(Profile, PROFILE | {"constraints": [CONSTRAINT | {"extra": unknown, "maxRisk": None}]}).record
    assert profile.constraints[0].extra == {"extra": unknown, "maxRisk": None}


NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=3)
EXTRAS = st.dictionaries(TEXTS.map("x{}".format), st.none() | st.booleans() | NUMBERS, max_size=3)


@given(EXTRAS)
def test_a_record_that_was_read_is_read_again_once_it_is_printed(unknown: dict[str, Any]) -> None:
    record = both(Reflection, REFLECTION | unknown).record
    if record is not None:
        again = both(Reflection, json.loads(stringify(record.as_json())))
        assert (again.record and digest(again.record), again.findings) == (digest(record), [])


def test_checked_refuses_naive_times_and_lists_every_rule_that_is_broken() -> None:
    record = ReflectionFactory(id="", user_id=None, tags=("a", 5), created_at=BEGIN.replace(tzinfo=None))
    with pytest.raises(InvalidRecord) as raised:
        checked(record)
    assert {one.path for one in raised.value.findings} == {"$.id", "$.userId", "$.tags[1]", "$.createdAt"}
    with pytest.raises(InvalidRecord, match="unknown keys"):
        checked(ActiveModeFactory(extra=Extra(a=1)))


DEEP = json.loads("[" * 100 + "]" * 100)


@pytest.mark.parametrize(
    "unknown",
    [float("nan"), float("inf"), 2**53 + 1, "\x00", {"\ud800": 1}, BEGIN, DEEP],
    ids=["nan", "inf", "integer", "NUL", "surrogate", "datetime", "deep"],
)
def test_checked_refuses_unknown_keys_that_no_file_can_hold(unknown: Any) -> None:
    with pytest.raises(InvalidRecord):
        checked(ReflectionFactory(extra=Extra(score=[unknown])))


@pytest.mark.parametrize("make", [ReflectionFactory, ProfileFactory, ActiveModeFactory])
def test_checked_returns_an_equal_record(make: Any) -> None:
    record = make()
    assert checked(record) == record


IDS = TEXTS.map("i{}".format)
TUPLES = st.lists(TEXTS, max_size=2).map(tuple)
MOMENTS = st.timedeltas(timedelta(0), timedelta(microseconds=3)).map(lambda size: BEGIN + size)
EXTRA = st.none() | st.dictionaries(TEXTS.map("x{}".format), st.none() | TEXTS, min_size=1, max_size=2).map(Extra)
CONSTRAINTS = st.builds(
    Constraint, id=TEXTS, type=TEXTS, active=st.booleans(), description=st.none() | TEXTS, extra=EXTRA
)
FIELDS: dict[type[Record], dict[str, st.SearchStrategy[Any]]] = {
    Reflection: {
        "id": IDS, "input": TEXTS, "output": TEXTS, "tags": TUPLES, "notes": st.none() | TEXTS, "created_at": MOMENTS,
        "user_id": IDS, "session_id": IDS, "extra": EXTRA,
    },
    Profile: {
        "user_id": IDS, "mode_id": IDS, "preferences": TUPLES, "updated_at": MOMENTS, "extra": EXTRA,
        "constraints": st.lists(TEXTS | CONSTRAINTS, max_size=2).map(tuple),
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", FIELDS)
@given(data=st.data())
def test_digests_are_equal_where_records_are_equal_and_nowhere_else(kind: type[Record], data: st.DataObject) -> None:
    assert {name for name, _ in field_names(kind)} | {"extra"} == set(FIELDS[kind])
    one = data.draw(st.builds(kind, **FIELDS[kind]))
    name = data.draw(st.sampled_from(sorted(FIELDS[kind])))
    other = msgspec.structs.replace(one, **{name: data.draw(FIELDS[kind][name])})
    assert (digest(one) == digest(other)) == (one == other)
    assert digest(Reader(kind).read(msgspec.Raw(stringify(one.as_json())), "$").record) == digest(one)


def test_the_time_of_an_active_mode_is_outside_its_digest() -> None:
    mode = ActiveMode(user_id="ana", mode_id="mars", updated_at=datetime(2024, 1, 1, tzinfo=UTC))
    assert digest(mode) == digest(msgspec.structs.replace(mode, updated_at=None))
    assert digest(mode) != digest(msgspec.structs.replace(mode, mode_id="x"))


def test_checked_refuses_unknown_keys_that_hold_themselves() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidRecord, match="nested deeper"):
        checked(ReflectionFactory(extra=Extra(x=endless)))
