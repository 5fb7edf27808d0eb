"""Pages by keyset: what is there all the while comes exactly once, whatever is added meanwhile."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from luna.domain import DOMAIN as LUNA
from luna.records import ActiveMode, Profile
from orbsite.api.renderers import as_json, encoded, encoded_list
from orbsite.storage.records.record import Extra
from orbsite.stores import open_store
from te.domain import DOMAIN as TE
from te.records import Reflection
from tests.api.conftest import Caller, make_token, refused, walked
from tests.support.factories import BEGIN, ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/users/ana/profiles"


@pytest.mark.slow
@pytest.mark.usefixtures("mode")
def test_a_walk_meets_every_old_one_once_while_others_are_added(ana: Caller) -> None:
    store = open_store(LUNA)
    names = [f"m{number:04}" for number in range(400)]
    store.put([ProfileFactory(mode_id=name) for name in names])
    added = iter(range(10_000))

    def write() -> None:
        store.put([ProfileFactory(mode_id=f"m{next(added) * 37 % 400:04}-new-{next(added)}") for _ in range(10)])

    pages = walked(ana, f"{ADDRESS}?limit=10", write)
    seen = [item["modeId"] for page in pages for item in page]
    assert [name for name in seen if "new" not in name] == names
    assert len(seen) == len(set(seen))
    assert len(seen) > len(names)
    assert {len(page) for page in pages[:-1]} == {10}


def test_a_page_has_a_hundred_at_most_and_the_last_one_says_so(ana: Caller) -> None:
    store = open_store(LUNA)
    store.put([ProfileFactory(mode_id=f"m{number:03}") for number in range(200)])
    assert [len(page) for page in walked(ana, ADDRESS)] == [100, 100]
    assert [len(page) for page in walked(ana, f"{ADDRESS}?limit=99")] == [99, 99, 2]
    assert ana.get("/api/v1/users/ana/modes?limit=2").json()["items"] == ["m000", "m001"]


def test_another_users_records_are_on_no_page(ana: Caller) -> None:
    store = open_store(LUNA)
    store.put([ProfileFactory(mode_id="mine"), ProfileFactory(user_id="bo", mode_id="other")])
    assert [item["modeId"] for item in ana.get(ADDRESS).json()["items"]] == ["mine"]
    assert ana.get("/api/v1/users/ana/modes").json()["items"] == ["mine"]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "", "x", "٣", "1e1", "9" * 5000, " 5", "+5"])
def test_a_limit_that_is_none_is_refused(ana: Caller, limit: str) -> None:
    from urllib.parse import quote

    told = refused(ana.get(f"{ADDRESS}?limit={quote(limit)}"), 400)
    assert told["errors"][0]["path"] == "limit"


def _cursor(ana: Caller) -> str:
    open_store(LUNA).put([ProfileFactory(mode_id=f"m{number}") for number in range(3)])
    following: str = ana.get(f"{ADDRESS}?limit=1").json()["next"]
    return following.partition("cursor=")[2].partition("&")[0]


def test_a_cursor_that_was_not_handed_out_is_refused(ana: Caller) -> None:
    cursor = _cursor(ana)
    parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))

    def made(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    wrong = [
        made([*parts[:-1], "a\x00b"]),
        made(parts[:-1]),
        made([*parts, "x"]),
        made([parts[0], 1, 2]),
        made({}),
        made(["x", *parts[1:]]),
    ]
    for text in ["", "x", "%FF", "é", "====", cursor + "!", "A" * 5000, *wrong]:
        told = refused(ana.get(f"{ADDRESS}?cursor={text}"), 400)
        assert told["errors"][0]["path"] == "cursor"
    assert ana.get(f"{ADDRESS}?cursor={made(parts)}").status_code == 200


@pytest.mark.parametrize("text", ["", "0", "0/", "16b3748", "0/16b3748", "0/123456789", "1/2/3", "0/-1", "١/0"])
def test_a_position_that_no_response_has_told_is_refused(ana: Caller, text: str) -> None:
    body = refused(ana.get("/api/v1/users/ana/reflections", Orb_Position=text), 400, "invalid")
    assert "Orb-Position" in str(body["errors"])


def test_without_replicas_a_position_changes_nothing(ana: Caller) -> None:
    answer = ana.get("/api/v1/users/ana/reflections", Orb_Position="FFFFFFFF/FFFFFFFF")
    assert (answer.status_code, answer.json()["items"], "Orb-Position" in answer) == (200, [], False)


def test_a_cursor_goes_with_its_user_and_its_list_alone(ana: Caller) -> None:
    cursor = _cursor(ana)
    every = Caller(make_token(every_user=True))
    refused(every.get(f"/api/v1/users/bo/profiles?cursor={cursor}"), 400)
    refused(ana.get(f"/api/v1/users/ana/modes?cursor={cursor}"), 400)


@pytest.mark.parametrize(
    "query", ["limit=1&limit=2", "order_by=digest", "page=2", "format=api", "user__name=x", "limit=%00"]
)
def test_what_is_not_on_the_list_of_parameters_is_refused(ana: Caller, query: str) -> None:
    refused(ana.get(f"{ADDRESS}?{query}"), 400)


def test_no_writing_request_takes_a_query(ana: Caller) -> None:
    refused(ana.put(f"{ADDRESS}/mars?limit=1", {"preferences": [], "constraints": []}), 400)


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize(
    "moment", ["2024-01-01T00:00:00", "now", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", ""]
)
def test_a_cursor_of_reflections_has_a_moment_that_can_be(ana: Caller, moment: str) -> None:
    open_store(TE).put([ReflectionFactory() for _ in range(3)])
    following = ana.get("/api/v1/users/ana/reflections?limit=1").json()["next"]
    cursor = following.partition("cursor=")[2].partition("&")[0]
    parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    made = base64.urlsafe_b64encode(json.dumps([parts[0], moment, parts[2]]).encode()).decode().rstrip("=")
    told = refused(ana.get(f"/api/v1/users/ana/reflections?cursor={made}"), 400)
    assert told["errors"][0]["path"] == "cursor"


def test_a_list_is_printed_as_its_records_are() -> None:
    plain = [ReflectionFactory(notes=None, tags=()), ReflectionFactory(notes='\u2028é"', tags=("a", "é"))]
    odd = [*plain, ReflectionFactory(extra=Extra({"10": 1.0, "2": 1e16}))]
    for kind, records in ((Reflection, plain), (Reflection, odd), (Profile, [ProfileFactory()]), (Reflection, [])):
        assert encoded_list(kind, records) == b"[" + b",".join(bytes(encoded(one)) for one in records) + b"]"
    modes = [ActiveMode(user_id="ana", mode_id="mars", updated_at=BEGIN), ActiveMode(user_id="bo", mode_id="x")]
    assert json.loads(encoded_list(ActiveMode, modes)) == [as_json(one) for one in modes]
    assert "updatedAt" not in as_json(modes[0])


@pytest.mark.slow
@pytest.mark.usefixtures("mode")
@given(
    sizes=st.lists(st.sampled_from([0, 1, 5000, 20_000]), max_size=12),
    most=st.integers(0, 60_000),
    limit=st.integers(1, 13),
)
@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_have_each_record_once_however_few_bytes_one_may_have(
    ana: Caller, settings: Any, sizes: list[int], most: int, limit: int
) -> None:
    store = open_store(TE)
    store.delete_where(Reflection, {"user_id": "ana"})
    made = [ReflectionFactory(input="é" * size, session_id="s") for size in sizes]
    store.put(made)
    settings.ORB_API_PAGE_BYTES = most
    for place in ("reflections?", "sessions/s/reflections?", "reflections?text=%C3%A9&", "reflections?tag=orb&"):
        pages = walked(ana, f"/api/v1/users/ana/{place}limit={limit}")
        seen = [item["id"] for page in pages for item in page]
        wanted = [one.id for one in made if "text" not in place or one.input]
        assert sorted(seen) == sorted(wanted), place
        assert all(len(page) == 1 or sum(len(item["input"]) for item in page) <= most for page in pages if page)
        assert all(pages[:-1]), "only a list without items has an empty page"


@pytest.mark.usefixtures("mode")
def test_modes_and_profiles_have_each_once_too(ana: Caller, settings: Any) -> None:
    names = [f"m{number}" for number in range(7)]
    open_store(LUNA).put([ProfileFactory(mode_id=name, preferences=("x" * 3000,)) for name in names])
    for most in (0, 10_000, 10**9):
        settings.ORB_API_PAGE_BYTES = most
        assert [one["modeId"] for page in walked(ana, ADDRESS) for one in page] == names
        assert [one for page in walked(ana, "/api/v1/users/ana/modes") for one in page] == names
        assert next(len(page) for page in walked(ana, f"{ADDRESS}?limit=3")) == {0: 1, 10_000: 2, 10**9: 3}[most]
