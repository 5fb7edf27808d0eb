"""Luna's resources, in every mode of persistence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orbsite.storage.encoding.url_ids import segment
from tests.api.conftest import Caller, refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("mode")]
PROFILES = "/api/v1/users/ana/profiles"
BODY = {"preferences": ["calm-ui"], "constraints": ["no-alerts"], "updatedAt": "2024-01-01T00:00:00.000Z"}


def test_a_profile_starts_from_its_modes_preset(ana: Caller) -> None:
    answer = ana.post(PROFILES, {"modeId": "mars"})
    assert answer.status_code == 201
    profile = answer.json()
    assert profile["preferences"]
    assert profile["constraints"][0]["id"] == "constraint-mars-0"
    assert answer["Location"] == f"{PROFILES}/mars"
    again = ana.get(answer["Location"])
    assert (again.json(), again["ETag"]) == (profile, answer["ETag"])


def test_what_is_given_counts_before_the_preset(ana: Caller) -> None:
    profile = ana.post(PROFILES, {"modeId": "mars", "preferences": ["mine"], "score": 1.5}).json()
    assert (profile["preferences"], profile["score"]) == (["mine"], 1.5)
    assert profile["constraints"]


def test_a_profile_that_is_there_stays(ana: Caller) -> None:
    ana.put(f"{PROFILES}/mars", BODY)
    refused(ana.post(PROFILES, {"modeId": "mars"}), 409, "conflict")
    assert ana.get(f"{PROFILES}/mars").json()["preferences"] == ["calm-ui"]


def test_a_profile_is_saved_read_changed_and_deleted(ana: Caller) -> None:
    saved = ana.put(f"{PROFILES}/mars", BODY)
    assert saved.status_code == 201
    assert saved.json() == {"userId": "ana", "modeId": "mars", **BODY}
    assert ana.put(f"{PROFILES}/mars", BODY).status_code == 200
    changed = ana.patch(f"{PROFILES}/mars", {"preferences": ["new"], "colour": "red"})
    assert changed.status_code == 200
    assert changed.json()["preferences"] == ["new"]
    assert changed.json()["constraints"] == ["no-alerts"]
    assert changed.json()["updatedAt"] > BODY["updatedAt"]
    assert "colour" not in ana.patch(f"{PROFILES}/mars", {"colour": None}).json()
    assert ana.delete(f"{PROFILES}/mars").status_code == 204
    refused(ana.get(f"{PROFILES}/mars"), 404, "not-found")
    refused(ana.delete(f"{PROFILES}/mars"), 404)
    refused(ana.patch(f"{PROFILES}/mars", {}), 404)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({**BODY, "preferences": [1]}, "$.preferences[0]"),
        ({**BODY, "preferences": "x"}, "$.preferences"),
        ({**BODY, "userId": "bo"}, "$.userId"),
        ({**BODY, "modeId": "other"}, "$.modeId"),
        ({**BODY, "updatedAt": "2024-01-01T00:00:00"}, "$.updatedAt"),
        ({**BODY, "updatedAt": "2024-01-01T24:00:00Z"}, "$.updatedAt"),
        ({**BODY, "updatedAt": 5}, "$.updatedAt"),
        ({"constraints": []}, "$.preferences"),
        ([BODY], "$"),
        ("text", "$"),
        (None, "$"),
    ],
)
def test_what_breaks_a_rule_is_told_by_its_path(ana: Caller, body: Any, path: str) -> None:
    told = refused(ana.put(f"{PROFILES}/mars", body), 400, "invalid")
    assert path in [one["path"] for one in told["errors"]]
    refused(ana.get(f"{PROFILES}/mars"), 404)


@pytest.mark.parametrize("name", ["a/b", "..", ".", "%00", "\x00", "é\u0301🚀", "__proto__", "~x", "a b", "'\"<"])
def test_ids_of_every_kind_are_addresses(ana: Caller, name: str) -> None:
    answer = ana.put(f"{PROFILES}/{segment(name)}", BODY)
    if "\x00" in name:
        refused(answer, 400)
        return
    assert answer.status_code == 201
    assert ana.get(f"{PROFILES}/{segment(name)}").json()["modeId"] == name
    assert ana.get("/api/v1/users/ana/modes").json() == {"items": [name], "next": None}
    assert ana.put("/api/v1/users/ana/active-mode", {"modeId": name}).json() == {"userId": "ana", "modeId": name}


def test_an_id_that_is_too_long_is_refused(ana: Caller) -> None:
    assert ana.put(f"{PROFILES}/{'x' * 255}", BODY).status_code == 201
    refused(ana.put(f"{PROFILES}/{'x' * 256}", BODY), 400)
    refused(ana.get(f"{PROFILES}/{'x' * 256}"), 404)


def test_the_active_mode_needs_no_profile_and_has_an_etag(ana: Caller) -> None:
    address = "/api/v1/users/ana/active-mode"
    refused(ana.get(address), 404)
    first = ana.put(address, {"modeId": "mars"})
    assert ana.get(address).json() == {"userId": "ana", "modeId": "mars"}
    assert ana.get(address)["ETag"] == first["ETag"]
    assert ana.put(address, {"modeId": "venus"}, If_Match=first["ETag"]).status_code == 200
    refused(ana.put(address, {"modeId": "moon"}, If_Match=first["ETag"]), 412)
    refused(ana.put(address, {"modeId": "moon", "unknown": 1}), 400)
    refused(ana.put(address, {"modeId": "moon"}, If_None_Match="*"), 412, "precondition-failed")
    assert ana.get(address).json()["modeId"] == "venus"


def test_the_active_mode_is_set_where_there_is_none_yet(ana: Caller) -> None:
    answer = ana.put("/api/v1/users/ana/active-mode", {"modeId": "mars"}, If_None_Match="*")
    assert (answer.status_code, answer.json()) == (200, {"userId": "ana", "modeId": "mars"})


def test_etags_are_asked_for_and_matched(ana: Caller, settings: Any) -> None:
    address = f"{PROFILES}/mars"
    refused(ana.put(address, BODY, If_Match="*"), 412)
    first = ana.put(address, BODY, If_None_Match="*")
    assert first.status_code == 201
    refused(ana.put(address, BODY, If_None_Match="*"), 412)
    unchanged = ana.get(address, If_None_Match=f'"other", W/{first["ETag"]}')
    assert (unchanged.status_code, unchanged.content, unchanged["ETag"]) == (304, b"", first["ETag"])
    assert ana.get(address, If_None_Match='"other"').status_code == 200
    second = ana.put(address, {**BODY, "preferences": []}, If_Match=first["ETag"])
    assert second.status_code == 200
    assert second["ETag"] != first["ETag"]
    for method, body in (("PUT", BODY), ("PATCH", {}), ("DELETE", None)):
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        told = ana(method, address, body, kind=kind, If_Match=first["ETag"])
        refused(told, 412, "precondition-failed")
        weak = refused(ana(method, address, body, kind=kind, If_Match=f"W/{second['ETag']}"), 412)
        assert "without W/" in weak["detail"]
        assert "W/" not in refused(told, 412)["detail"]
        settings.ORB_API_REQUIRE_IF_MATCH = True
        refused(ana(method, address, body, kind=kind), 428, "precondition-required")
        settings.ORB_API_REQUIRE_IF_MATCH = False
    assert ana.delete(address, If_Match=second["ETag"]).status_code == 204


def test_a_list_has_an_etag_too(ana: Caller) -> None:
    ana.put(f"{PROFILES}/mars", BODY)
    first = ana.get(PROFILES)
    assert ana.get(PROFILES, If_None_Match=first["ETag"]).status_code == 304
    ana.put(f"{PROFILES}/venus", BODY)
    assert ana.get(PROFILES, If_None_Match=first["ETag"]).status_code == 200


def test_of_two_who_save_over_the_same_etag_one_is_told_so(ana: Caller, mode: str) -> None:
    if mode == "sql":  # two threads, but one connection in a test's transaction: see test_served
        pytest.skip("tests/api/test_served.py does this over SQLite and PostgreSQL")
    address = f"{PROFILES}/mars"
    tag = ana.put(address, BODY)["ETag"]
    import msgspec

    from luna.domain import DOMAIN
    from luna.records import Profile
    from orbsite import stores
    from orbsite.storage.errors import Conflict
    from orbsite.storage.records.digest import digest

    store = stores.open_store(DOMAIN)
    current = store.fetch(Profile, [("ana", "mars")])[("ana", "mars")]

    def save(number: int) -> bool:
        try:
            store.put([msgspec.structs.replace(current, preferences=(str(number),))], expect=digest(current))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(save, range(8))) == 1
    refused(ana.put(address, BODY, If_Match=tag), 412)


def test_objects_are_kept_and_patched_member_by_member(ana: Caller) -> None:
    body = BODY | {"preferences": {"tone": "calm", "10": [1, 0.5, None]}, "constraints": {"quiet": {"from": "22:00"}}}
    assert ana.put(f"{PROFILES}/work", body).json() == {"userId": "ana", "modeId": "work", **body}
    assert ana.get(f"{PROFILES}/work").json()["preferences"] == body["preferences"]
    changed = ana.patch(f"{PROFILES}/work", {"preferences": {"tone": None, "pace": "slow"}}).json()
    assert changed["preferences"] == {"10": [1, 0.5, None], "pace": "slow"}
    assert changed["constraints"] == body["constraints"]
    changed = ana.patch(f"{PROFILES}/work", {"preferences": ["a list"]}).json()
    assert (changed["preferences"], changed["constraints"]) == (["a list"], body["constraints"])
    refused(ana.put(f"{PROFILES}/work", body | {"preferences": {"a": "\x00"}}), 400)
    refused(ana.put(f"{PROFILES}/work", body | {"preferences": "calm"}), 400)
