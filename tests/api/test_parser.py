"""Bodies are read as strictly as files: what of bad input is answered, with which path, and never by a 500."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from luna.domain import DOMAIN as LUNA
from luna.records import Profile
from orbsite.api.parsers import read_json
from orbsite.api.problems import Problem
from orbsite.operations.files.validate import validate_document
from orbsite.operations.migration.databases.database_source import LegacyDatabase
from orbsite.storage.encoding import json_parser
from orbsite.storage.errors import OrbError
from orbsite.stores import file_store
from tests.api.conftest import Caller, refused
from tests.support.suites import json_files, naughty_strings

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/users/ana/profiles/mars"


def profile(preferences: bytes, more: bytes = b"") -> bytes:
    return b'{"preferences": ' + preferences + b', "constraints": [], "updatedAt": "2024-01-01T00:00:00Z"' + more + b"}"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (profile(b"[]", b', "preferences": []'), "$.preferences"),
        (profile(b"[]", b', "a": {"b": [{"c": 1, "c": 1}]}'), "$.a.b[0].c"),
        (profile(b"[]", b', "a": NaN'), "$"),
        (profile(b"[]", b', "a": -Infinity'), "$"),
        (profile(b"[]", b', "a": 1e400'), "$"),
        (profile(b"[]", b', "a": ' + b"9" * 5000), "$"),
        (profile(b"[]", b', "a": 9007199254740993'), "$.a"),
        (profile(rb'["\ud800"]'), "$.preferences[0]"),
        (profile(b"[]", rb', "\udfff": 1'), '$["\\udfff"] (the key)'),
        (profile(rb'["a\u0000b"]'), "$.preferences[0]"),
        (profile(b"[]", rb', "a": {"\u0000": 1}'), '$.a["\\u0000"] (the key)'),
        (profile(b"[]", b', "a": ' + b"[" * 100 + b"]" * 100), "$"),
        (b"[" * 100_000, "$"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "$"),
        (b"\xef\xbb\xbf{}", "$"),
        ('{"a": 1}'.encode("utf-16"), "$"),
        (b'{"a": "\xff"}', "$"),
        (b"", "$"),
        (b" ", "$"),
        (b"{", "$"),
        (b"{} {}", "$"),
        (profile(b"[1]"), "$.preferences[0]"),
        (profile(b"[true]"), "$.preferences[0]"),
        (profile(b"null"), "$.preferences"),
        (profile(b'"x"'), "$.preferences"),
        (profile(b"[]", b', "userId": 5'), "$.userId"),
    ],
)
def test_bad_input_is_answered_with_its_path(ana: Caller, body: bytes, path: str) -> None:
    told = refused(ana.put(ADDRESS, body), 400, "invalid")
    assert path in [one["path"] for one in told["errors"]]
    refused(ana.get(ADDRESS), 404)


@pytest.mark.parametrize(
    "moment",
    ["2024-01-01T00:00:00", "2024-01-01", "2024-12-31T23:59:60Z", "2024-01-01T24:00:00Z", "infinity", "0000-01-01T00:00:00Z",
     "10000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "+012024-01-01T00:00:00Z", "２024-01-01T00:00:00Z", "", "now"],
)  # fmt: skip
def test_times_that_are_none_are_refused(ana: Caller, moment: str) -> None:
    body = {"preferences": [], "constraints": [], "updatedAt": moment}
    told = refused(ana.put(ADDRESS, body), 400, "invalid")
    assert [one["path"] for one in told["errors"]] == ["$.updatedAt"]


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2024-01-01T00:00:00z", "2024-01-01T00:00:00.000Z"),
        ("2024-01-01T02:00:00.5+02:00", "2024-01-01T00:00:00.500Z"),
        ("2024-01-01T00:00:00.123456Z", "2024-01-01T00:00:00.123456Z"),
        ("2024-01-01T00:00:00.123456789Z", "2024-01-01T00:00:00.123456Z"),
    ],
)
def test_times_are_answered_in_utc(ana: Caller, moment: str, shown: str) -> None:
    answer = ana.put(ADDRESS, {"preferences": [], "constraints": [], "updatedAt": moment})
    assert answer.json()["updatedAt"] == shown


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json; charset=utf-8", 201),
        ('application/json; charset="UTF-8"', 201),
        ("application/json; charset=utf-7", 415),
        ("application/json; charset=iso-8859-1", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/xml", 415),
        ("", 415),
        ("nonsense", 415),
    ],
)
def test_only_json_in_utf_8_is_read(ana: Caller, kind: str, status: int) -> None:
    answer = ana("PUT", ADDRESS, profile(b"[]"), kind=kind)
    assert answer.status_code == status
    if status == 415:
        refused(answer, 415, "unsupported-media-type")


def test_what_is_packed_is_not_unpacked(ana: Caller) -> None:
    refused(ana.put(ADDRESS, profile(b"[]"), Content_Encoding="gzip"), 415)


def test_a_body_has_a_largest_size(ana: Caller, settings: Any) -> None:
    body = profile(b'["' + b"x" * 1000 + b'"]')
    settings.ORB_API_MAX_BYTES = len(body)
    assert ana.put(ADDRESS, body).status_code == 201
    settings.ORB_API_MAX_BYTES = len(body) - 1
    refused(ana.put(ADDRESS, body), 413, "too-large")


def test_keys_that_mean_something_elsewhere_are_plain_keys(ana: Caller) -> None:
    more = b', "__proto__": {"a": 1}, "constructor": 2, "toString": null'
    assert ana.put(ADDRESS, profile(b"[]", more)).status_code == 201
    assert ana.get(ADDRESS).json().items() >= {"__proto__": {"a": 1}, "constructor": 2, "toString": None}.items()


def test_many_errors_are_counted_and_the_first_are_listed(ana: Caller) -> None:
    told = refused(
        ana.put(ADDRESS, {"preferences": [1] * 500, "constraints": [], "updatedAt": "2024-01-01T00:00:00Z"}), 400
    )
    assert len(told["errors"]) == 100
    assert "of 500" in told["detail"]


def test_numbers_are_answered_as_javascript_prints_them(ana: Caller) -> None:
    ana.put(ADDRESS, profile(b"[]", b', "a": 1.0, "b": 1e16, "c": -0.0, "2": 1, "1": 2'))
    assert b'"a":1,"b":10000000000000000,"c":0' in ana.get(ADDRESS).content


def test_a_body_is_judged_as_the_loader_of_files_judges_it() -> None:
    def of_files(data: bytes) -> bool:
        try:
            value = json_parser.parse(data)
        except json_parser.MalformedJSON:
            return False
        return not json_parser.problems(value, "$") and not json_parser.repetitions(value)

    def of_bodies(data: bytes) -> bool:
        try:
            read_json(data)
        except Problem:
            return False
        return True

    decisions = {path.name: (of_bodies(path.read_bytes()), of_files(path.read_bytes())) for path in json_files()}
    assert len(decisions) == 318
    assert {name for name, (body, file) in decisions.items() if body != file} == set()
    assert {name for name, (body, _) in decisions.items() if body and name.startswith("n_")} == set()
    assert sum(body for name, (body, _) in decisions.items() if name.startswith("y_")) > 85


def test_the_whole_suite_gets_answers_and_no_500(ana: Caller) -> None:
    for path in json_files():
        answer = ana.put(ADDRESS, path.read_bytes())
        refused(answer, 400)


def test_naughty_strings_come_back_as_they_went(ana: Caller) -> None:
    strings = naughty_strings()
    assert len(strings) == 515
    body = {"preferences": strings, "constraints": [], "updatedAt": "2024-01-01T00:00:00Z"}
    assert ana.put(ADDRESS, body).json()["preferences"] == strings
    assert ana.get(ADDRESS).json()["preferences"] == strings


CONSTRAINT = b'"constraints": [{"id": "c", "type": "t", "active": true, "a": %b}]'
PLACES = {
    "an unknown key": lambda text: profile(b"[]", b', "a": ' + text),
    "the preferences": profile,
    "in a constraint": lambda text: profile(b"[]").replace(b'"constraints": []', CONSTRAINT % text),
}


def _loaded(base: Path) -> bool:
    try:
        return bool(file_store(LUNA, base).fetch(Profile, [("ana", "mars")]))
    except OrbError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_record_in_a_body_and_in_a_file_is_judged_alike(ana: Caller, data_dir: Path, place: str) -> None:
    """By the API, by whoever validates a file, and by the store that reads it; of repeated keys files are warned of."""
    path = data_dir / "luna/profiles.json"
    path.parent.mkdir(mode=0o700)
    decisions = {}
    for one in json_files():
        body = PLACES[place](one.read_bytes()).replace(b"{", b'{"userId": "ana", "modeId": "mars", ', 1)
        file = b'{"ana": {"profiles": {"mars": ' + body + b"}}}"
        told = validate_document(LUNA, file)
        is_repeated = any("more than once" in text for text in told.warnings)
        path.write_bytes(file)
        path.chmod(0o600)
        os.utime(path, (0, 0))
        of_api = ana.put(ADDRESS, body).status_code in (200, 201)
        decisions[one.name] = (of_api, told.valid and not is_repeated, _loaded(data_dir) and not is_repeated)
    assert len(decisions) == 318
    assert {name: one for name, one in decisions.items() if len(set(one)) > 1} == {}
    assert {one[0] for one in decisions.values()} == {True, False}


def test_a_cell_of_the_earlier_systems_database_is_judged_as_a_body_is(ana: Caller, tmp_path: Path) -> None:
    texts = {}
    for one in json_files():
        with contextlib.suppress(UnicodeDecodeError):  # no text, which SQLite does not hand out
            texts[one.name] = one.read_bytes().decode()
    assert len(texts) > 270
    with contextlib.closing(sqlite3.connect(tmp_path / "orb.db")) as connection, connection:
        names = "user_id, mode_id, preferences, constraints, updated_at"
        connection.execute(f"CREATE TABLE luna_profiles ({names})")
        rows = [("ana", name, text, "[]", "2024-01-01T00:00:00Z") for name, text in texts.items()]
        connection.executemany(f"INSERT INTO luna_profiles ({names}) VALUES (?, ?, ?, ?, ?)", rows)
    with LegacyDatabase(str(tmp_path / "orb.db")) as origin:
        of_import = {one.key[1]: one.record is not None for one in origin.entries(LUNA) if one.key}
    of_api = {name: ana.put(ADDRESS, profile(text.encode())).status_code in (200, 201) for name, text in texts.items()}
    again = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}  # the last one counts, or a 400
    assert {name: decision for name, decision in of_import.items() if decision != of_api[name]} == dict.fromkeys(
        again, True
    )
    assert len(of_import) == len(of_api)
    assert 20 < sum(of_api.values()) < 60
