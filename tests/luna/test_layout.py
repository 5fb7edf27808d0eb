from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luna.domain import DOMAIN
from luna.records import ActiveMode, Profile
from orbsite.storage.errors import DocumentCorrupt, RecordUnreadable
from orbsite.storage.file.content import Content, entries
from orbsite.storage.file.document import Document
from orbsite.storage.file.store import FileStore
from tests.support.factories import ActiveModeFactory, ProfileFactory, moment

DEEP: Any = json.loads("[" * 99 + "]" * 99)


def profile(user: str, mode: str, **fields: Any) -> dict[str, Any]:
    whole = {"userId": user, "modeId": mode, "preferences": [], "constraints": []}
    return whole | {"updatedAt": "2024-01-01T00:00:00.000Z"} | fields


def decoded(tree: Any) -> tuple[list[Any], list[tuple[str, str]]]:
    data = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    found = list(entries(DOMAIN, data))
    records = [entry.record for entry in found if entry.record is not None]
    return records, [(one.path, one.severity.value) for entry in found for one in entry.findings]


def test_records_stand_in_their_places_in_the_order_of_the_file() -> None:
    tree = {
        "bo": {"activeMode": "mars", "profiles": {"mars": profile("bo", "mars"), "7": profile("bo", "7")}},
        "__proto__": {"profiles": {"../x": profile("__proto__", "../x")}},
    }
    found = list(entries(DOMAIN, json.dumps(tree).encode()))
    assert [(entry.place, entry.record.key) for entry in found if entry.record] == [
        (("bo", "activeMode"), ("bo",)),
        (("bo", "profiles", "mars"), ("bo", "mars")),
        (("bo", "profiles", "7"), ("bo", "7")),
        (("__proto__", "profiles", "../x"), ("__proto__", "../x")),
    ]
    assert [entry.findings for entry in found if entry.findings] == []


@pytest.mark.parametrize("data", [b"[]", b"null", b'"x"', b"5", b"", b"{", b'{"a": NaN}', b'\xff{"a": {}}'])
def test_a_document_that_is_no_object_is_corrupt(data: bytes) -> None:
    with pytest.raises(DocumentCorrupt):
        entries(DOMAIN, data)


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ([], [("$.ana", "error")]),
        (None, [("$.ana", "error")]),
        ({"profiles": []}, [("$.ana.profiles", "error")]),
        ({"profiles": {"m": []}}, [("$.ana.profiles.m", "error")]),
        ({"profiles": {}, "activeMode": []}, [("$.ana.activeMode", "error")]),
        ({"profiles": {}, "activeMode": ""}, [("$.ana.activeMode", "error")]),
        ({"profiles": {}, "activeMode": None}, [("$.ana.activeMode", "warning")]),
        ({"profiles": {}, "activeMode": "gone"}, [("$.ana.activeMode", "warning")]),
        ({"profiles": {"m": profile("bo", "m")}}, [("$.ana.profiles.m.userId", "error")]),
        ({"profiles": {"m": profile("ana", "n")}}, [("$.ana.profiles.m.modeId", "error")]),
        ({"profiles": {"m n": profile("ana", "m n", preferences=[1])}},
         [('$.ana.profiles["m n"].preferences[0]', "error")]),
        ({"profiles": {"m": profile("ana", "m", constraints=["a", {"id": "c", "type": "t", "active": True}])}},
         [("$.ana.profiles.m.constraints", "warning")]),
        ({"profiles": {"m": profile("ana", "m", updatedAt="2024-01-01")}},
         [("$.ana.profiles.m.updatedAt", "warning")]),
        ({}, []),
        ({"later": {"profiles": 5}}, []),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_with_its_path_and_the_rest_is_read(user: Any, found: list[tuple[str, str]]) -> None:
    records, findings = decoded({"ana": user, "cy": {"profiles": {"m": profile("cy", "m")}}})
    assert findings == found
    assert ("cy", "m") in [record.key for record in records]


@pytest.mark.parametrize("wrong", [b"1e400", b"9" * 5000, b"[" * 120 + b"]" * 120], ids=["huge", "digits", "deep"])
@pytest.mark.parametrize(
    "user", ["%s", '{"later":%s}', '{"profiles":%s}', '{"activeMode":%s}', '{"profiles":{"m":%s}}']
)
def test_a_value_beyond_all_bounds_does_not_keep_the_rest_from_being_read(user: str, wrong: bytes) -> None:
    data = b'{"ana":%s,"cy":{"profiles":{"m":%s}}}' % (
        user.encode() % wrong,
        json.dumps(profile("cy", "m")).encode(),
    )
    records, findings = decoded(data)
    assert [record.key for record in records] == [("cy", "m")]
    assert [path for path, _ in findings if not path.startswith("$.ana")] == []
    assert wrong in Content(DOMAIN, data).encode().replace(b" ", b"").replace(b"\n", b"")


@pytest.mark.parametrize(("mode", "name"), [(b"5", "a number"), (b"1e400", "a number"), (b"[1e400]", "a list")])
def test_a_finding_names_what_stands_there_in_words(mode: bytes, name: str) -> None:
    found = [one for entry in entries(DOMAIN, b'{"ana":{"activeMode":%s}}' % mode) for one in entry.findings]
    assert [one.message for one in found] == [f"expected text, got {name}"]


def test_repeated_keys_are_warned_of_and_the_last_one_counts() -> None:
    one, two = (json.dumps(profile("ana", "m", preferences=[name])) for name in "ab")
    records, findings = decoded(f'{{"ana": {{"profiles": {{"m": {one}, "m": {two}}}}}}}'.encode())
    assert [record.preferences for record in records] == [("b",)]
    assert findings == [("$.ana.profiles.m", "warning")]


SURVIVORS = {
    "9": {"note": [1.5, None], "profiles": {"b": 5, "10": {"bad": {}}, "2": None}, "z": DEEP},
    "later": [{"version": 2}],
    "ana": {"b": 1, "activeMode": [], "profiles": {"bad": {"userId": "ana", "x": "\u2028 ü"}}, "a": {}},
}


def test_unknown_keys_and_items_that_do_not_decode_survive_every_save_in_their_places(data_dir: Path) -> None:
    path = data_dir / DOMAIN.file
    path.parent.mkdir(mode=0o700)
    path.write_bytes(json.dumps(SURVIVORS).encode())
    store = FileStore(DOMAIN, Document(data_dir, DOMAIN.file))
    new = [
        ProfileFactory(user_id=user, mode_id=mode) for user, mode in [("ana", "m"), ("9", "x"), ("9", "3"), ("5", "m")]
    ]
    store.put(new)
    after = json.loads(path.read_bytes())
    assert list(after) == ["5", "9", "later", "ana"]
    assert list(after["9"]["profiles"]) == ["2", "3", "10", "b", "x"]
    assert list(after["ana"]) == ["b", "activeMode", "profiles", "a"]
    store.delete(Profile, [record.key for record in new])
    assert json.loads(path.read_bytes()) == SURVIVORS


def test_nothing_is_saved_over_what_does_not_decode(data_dir: Path) -> None:
    path = data_dir / DOMAIN.file
    path.parent.mkdir(mode=0o700)
    path.write_bytes(before := json.dumps(SURVIVORS | {"bo": {"profiles": []}}).encode())
    store = FileStore(DOMAIN, Document(data_dir, DOMAIN.file))
    places = [("9", "10"), ("later", "m"), ("bo", "m"), ("ana", "bad")]
    for record in [*(ProfileFactory(user_id=u, mode_id=m) for u, m in places), ActiveModeFactory(user_id="ana")]:
        with pytest.raises(RecordUnreadable, match="validate_orb_files"):
            store.put([record])
    assert path.read_bytes() == before


def test_a_file_of_the_earlier_system_passes_through_unchanged(sample: Path) -> None:
    data = (sample / DOMAIN.file).read_bytes()
    content = Content(DOMAIN, data)
    assert content.encode() == data
    assert (content.view.count(Profile), content.view.count(ActiveMode)) == (72, 15)


NAMES = st.sampled_from(["ana", "7", "42", "__proto__", "profiles", "activeMode", "é"])
PROFILES = st.builds(
    ProfileFactory.build, user_id=NAMES, mode_id=NAMES, updated_at=st.integers(0, 3).map(moment),
    preferences=st.lists(st.text("a\x7fü", max_size=2), max_size=2).map(tuple),
)  # fmt: skip
MODES = st.builds(ActiveModeFactory.build, user_id=NAMES, mode_id=NAMES)


@given(st.lists(PROFILES | MODES | st.tuples(NAMES) | st.tuples(NAMES, NAMES), max_size=15))
def test_what_was_put_and_not_deleted_is_there_after_a_round_trip(steps: list[Any]) -> None:
    content = Content(DOMAIN, json.dumps({"ana": {"later": [1], "profiles": {"bad": 1}}}).encode())
    expected: dict[Any, Any] = {}
    for step in steps:
        if isinstance(step, tuple):
            kind = ActiveMode if len(step) == 1 else Profile
            assert content.delete(kind, [step], None) == ((kind, step) in expected)
            expected.pop((kind, step), None)
        else:
            content.upsert([step], None)
            expected[type(step), step.key] = step
    again = Content(DOMAIN, content.encode())
    assert {(kind, one.key): one for kind in DOMAIN.kinds for one in again.view.walk(kind)} == expected
    assert json.loads(again.encode())["ana"]["later"] == [1]
    assert json.loads(again.encode())["ana"]["profiles"]["bad"] == 1
    assert again.encode() == content.encode()
