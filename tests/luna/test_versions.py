"""Luna's casters over the sample, over generated data and over odd data, and documents of version 2 in stores."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luna.domain import DOMAIN
from luna.records import ActiveMode, Constraint, Profile
from luna.versions import VERSIONS
from orbsite.storage.base.erasures import Erasure, ErasureList, digest_of
from orbsite.storage.encoding.json_printer import stringify
from orbsite.storage.errors import NewerVersion
from orbsite.storage.file.compaction import compacted
from orbsite.storage.file.content import Content, entries
from orbsite.storage.file.document import Document
from orbsite.storage.file.erasure import without_erased, without_user
from orbsite.storage.file.store import FileStore
from orbsite.storage.findings import path_to
from orbsite.storage.records.versions import MARK
from tests.luna.test_layout import profile
from tests.support.factories import ActiveModeFactory, ConstraintFactory, ProfileFactory, moment

SINCE = "activeModeUpdatedAt"


def user(*constraints: Any, **members: Any) -> dict[str, Any]:
    return {"activeMode": "m", **members, "profiles": {"m": profile("ana", "m", constraints=list(constraints))}}


def constraints(tree: Any) -> Any:
    return tree["ana"]["profiles"]["m"]["constraints"]


def other(index: int, text: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"constraint-m-{index}", "type": "other", "active": True, "description": text} | fields


def paths(findings: Any) -> list[str]:
    return [one.path for one in findings]


def store_of(base: Path, tree: Any, **how: Any) -> FileStore:
    path = base / DOMAIN.file
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_bytes(stringify(tree))
    return FileStore(DOMAIN, Document(base, DOMAIN.file), **how)


def test_a_text_becomes_an_object_as_the_earlier_system_makes_it_of_a_preset() -> None:
    assert constraints(VERSIONS.cast({"ana": user("calm", "")}, 1).tree) == [other(0, "calm"), other(1, "")]


def test_an_id_that_another_constraint_has_is_not_taken_again() -> None:
    mixed = user("one", other(0, "own", type="block_tool"), "three", other(3, "four"))
    done = constraints(VERSIONS.cast({"ana": mixed}, 1).tree)
    assert [one["id"] for one in done] == ["constraint-m-1", "constraint-m-0", "constraint-m-2", "constraint-m-3"]


@pytest.mark.parametrize(
    ("constraint", "text", "lost"),
    [
        (other(0, "calm"), "calm", ""),
        ("calm", "calm", ""),
        (other(0, "calm", id="c-1"), "calm", "only its description and not id"),
        (other(0, "calm", type="block_tool", active=False, toolId="x"), "calm", "not type, active, toolId"),
        (other(0, "calm", secret="s", more=1), "calm", "not unknown members"),
        ({"id": "c-1", "type": "other", "active": True}, "c-1", "only its id, because it has no description"),
        ({"type": "other"}, {"type": "other"}, "the object is kept"),
        (5, 5, ""),
    ],
)
def test_an_object_becomes_its_description_and_what_else_it_had_is_listed(
    constraint: Any, text: Any, lost: str
) -> None:
    done = VERSIONS.cast({"ana": user(constraint, "next") | {MARK: 1}}, 0)
    assert constraints(done.tree) == [text, "next"]
    assert paths(done.lost) == (["$.ana.profiles.m.constraints[0]"] if lost else [])
    assert all(lost in one.message for one in done.lost)


@pytest.mark.parametrize("name", ["preferences", "constraints"])
def test_the_objects_of_the_hosted_line_are_kept_and_listed(name: str) -> None:
    tree = {"ana": {"profiles": {"m": profile("ana", "m", **{name: {"tone": [1]}})}}}
    done = VERSIONS.cast(tree, 0)
    assert (done.tree, paths(done.lost)) == (tree, [f"$.ana.profiles.m.{name}"])


def test_the_time_of_an_active_mode_is_what_version_1_cannot_hold() -> None:
    tree = {"ana": {MARK: 2, "activeMode": "m", SINCE: "2024-01-01T00:00:00.000Z", "profiles": {}}}
    done = VERSIONS.cast(tree, 1)
    assert done.tree == {"ana": {"activeMode": "m", "profiles": {}}}
    assert paths(done.lost) == [f"$.ana.{SINCE}"]


def test_the_sample_comes_back_byte_for_byte_from_version_2(sample: Path) -> None:
    data = (sample / DOMAIN.file).read_bytes()
    up = VERSIONS.cast(json.loads(data), 2)
    assert (up.counts, up.notes) == ({"upgraded": 15}, [])
    assert VERSIONS.counts(up.tree) == {2: 15}
    down = VERSIONS.cast(up.tree, 1)
    assert (stringify(down.tree), down.lost) == (data, [])


def test_the_sample_in_version_0_survives_the_whole_way_and_what_it_lost_is_listed(sample: Path) -> None:
    tree = json.loads((sample / DOMAIN.file).read_bytes())
    oldest = VERSIONS.cast(tree, 0)
    assert oldest.lost
    _survives_the_whole_way(oldest.tree)
    again = VERSIONS.cast(oldest.tree, 1).tree
    listed = {path.rpartition("[")[0] for path in paths(oldest.lost)}
    for name, part in tree.items():
        for mode, one in part["profiles"].items():
            is_same = again[name]["profiles"][mode] == one
            assert is_same == (path_to((name, "profiles", mode, "constraints")) not in listed)


def _survives_the_whole_way(tree: Any) -> None:
    before, at = copy.deepcopy(tree), tree
    for version in (0, 1, 2, 1, 0):
        done = VERSIONS.cast(at, version)
        assert done.lost == []
        at = done.tree
    assert at == before
    assert list(at) == list(before)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=4)
NAMES = st.sampled_from(["ana", "7", "__proto__", "schemaVersion", "profiles", "é"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES | TEXTS, inner, max_size=2),
    max_leaves=4,
)
UNKNOWN = st.dictionaries(st.sampled_from(["score", "later", "x"]), JSON, max_size=2)
OBJECTS = st.builds(
    lambda fields, unknown: fields | unknown,
    st.fixed_dictionaries(
        {"id": st.sampled_from(["constraint-ana-0", "constraint-7-1", "c"]), "type": TEXTS, "active": st.booleans()},
        optional={"description": TEXTS, "toolId": TEXTS, "appliesToRoles": st.lists(TEXTS, max_size=1)},
    ),
    UNKNOWN,
)


NOTHING: Any = st.nothing()


def documents(constraint: Any, *, form: Any = NOTHING) -> Any:
    """Return a strategy for documents whose constraints are lists of some values, or what `form` has."""

    def named(users: Any) -> Any:
        for name, part in users.items():
            for mode, one in part.get("profiles", {}).items():
                one |= {"userId": name, "modeId": mode}
        return users

    profiles = st.builds(
        lambda held, unknown: profile("", "") | {"constraints": held} | unknown,
        st.lists(constraint, max_size=3) | form, UNKNOWN,
    )  # fmt: skip
    users = st.fixed_dictionaries(
        {}, optional={"activeMode": NAMES, "later": JSON, "profiles": st.dictionaries(NAMES, profiles, max_size=2)}
    )
    return st.dictionaries(NAMES, users, max_size=3).map(named)


@given(documents(TEXTS))
def test_data_of_version_0_survives_the_whole_way(tree: Any) -> None:
    _survives_the_whole_way(tree)


@given(documents(OBJECTS, form=JSON.filter(lambda one: isinstance(one, dict))))
def test_data_of_version_1_comes_back_from_version_2_and_from_version_0_where_nothing_is_listed(tree: Any) -> None:
    before = copy.deepcopy(tree)
    up = VERSIONS.cast(tree, 2)
    assert all(part[MARK] == 2 for part in up.tree.values())
    back = VERSIONS.cast(up.tree, 1)
    assert (back.tree, back.lost) == (before, [])
    down = VERSIONS.cast(tree, 0)
    if not down.lost:
        assert VERSIONS.cast(down.tree, 1).tree == before
    assert tree == before


@pytest.mark.slow
@given(documents(OBJECTS | TEXTS, form=JSON), st.integers(0, 2), st.integers(0, 2))
def test_any_cast_has_the_version_that_was_asked_for_and_keeps_unknown_members(tree: Any, first: int, to: int) -> None:
    done = VERSIONS.cast(VERSIONS.cast(tree, first).tree, to)
    for name, part in done.tree.items():
        held = [one["constraints"] for one in part.get("profiles", {}).values()]
        if to == 2:
            assert part[MARK] == 2
        elif not any(isinstance(one, list) and one for one in held):
            assert VERSIONS.of(part) == 1  # without constraints, the versions 0 and 1 are the same
        elif to == 1:
            assert VERSIONS.of(part) == 1
        assert {one: value for one, value in part.items() if one == "later"} == {
            one: value for one, value in tree[name].items() if one == "later"
        }
        for mode, one in part.get("profiles", {}).items():
            known = {*profile("", "")}
            original = tree[name]["profiles"][mode]
            assert {k: v for k, v in one.items() if k not in known} == {
                k: v for k, v in original.items() if k not in known
            }
    assert VERSIONS.cast(done.tree, to).counts.keys() <= {"unchanged"}


@given(documents(OBJECTS | TEXTS))
def test_a_store_reads_the_same_records_from_version_2_and_prints_what_the_caster_does(tree: Any) -> None:
    plain = Content(DOMAIN, stringify(VERSIONS.cast(tree, 1).tree))
    data = stringify(VERSIONS.cast(json.loads(plain.encode()), 2).tree)
    marked = Content(DOMAIN, data)
    assert marked.encode() == data
    for kind in DOMAIN.kinds:
        assert list(marked.view.walk(kind)) == list(plain.view.walk(kind))
    assert [one.place for one in marked.invalid] == [one.place for one in plain.invalid]


def test_a_row_has_the_version_of_its_constraints() -> None:
    texts = ProfileFactory(mode_id="m", constraints=("calm", ConstraintFactory(id="constraint-m-0"), "safe"))
    assert VERSIONS.of_record(texts) == 0
    new = VERSIONS.upcast(texts)
    assert VERSIONS.of_record(new) == 2
    made = [constraint.id for constraint in new.constraints]
    assert made == ["constraint-m-1", "constraint-m-0", "constraint-m-2"]
    assert new.constraints[0] == Constraint(id="constraint-m-1", type="other", active=True, description="calm")
    for current in (new, ActiveModeFactory(), ProfileFactory(constraints={"a": 1}), ProfileFactory(constraints=())):
        assert VERSIONS.upcast(current) is current


@given(documents(TEXTS | OBJECTS))
def test_a_row_and_a_file_are_upcast_alike(tree: Any) -> None:
    content = Content(DOMAIN, stringify(tree))
    after = Content(DOMAIN, stringify(VERSIONS.cast(tree, 1).tree))
    assert [VERSIONS.upcast(one) for one in content.view.walk(Profile)] == list(after.view.walk(Profile))


@pytest.mark.parametrize("above", [None, 0], ids=["document", "journal"])
def test_a_user_of_version_2_keeps_the_time_of_the_active_mode_and_a_user_of_version_1_does_not(
    data_dir: Path, above: int | None
) -> None:
    store = store_of(data_dir, {"ana": {MARK: 2, "profiles": {}}, "bo": {"profiles": {}}}, journal_above=above)
    store.put([ActiveModeFactory(user_id=name, mode_id="m", updated_at=moment(1)) for name in ("ana", "bo")])
    for one in (store, FileStore(DOMAIN, Document(data_dir, DOMAIN.file))):
        assert {record.owner: record.updated_at for record in one.find(ActiveMode)} == {"ana": moment(1), "bo": None}
    store.fold()
    assert json.loads((data_dir / DOMAIN.file).read_bytes()) == {
        "ana": {MARK: 2, "activeMode": "m", SINCE: "2024-01-01T00:01:00.000001Z", "profiles": {}},
        "bo": {"activeMode": "m", "profiles": {}},
    }
    store.put([ActiveModeFactory(user_id="ana", mode_id="n")])
    store.fold()
    assert json.loads((data_dir / DOMAIN.file).read_bytes())["ana"] == {MARK: 2, "activeMode": "n", "profiles": {}}
    store.delete(ActiveMode, [("ana",)])
    store.fold()
    assert "ana" not in json.loads((data_dir / DOMAIN.file).read_bytes())


@pytest.mark.parametrize("above", [None, 0], ids=["document", "journal"])
@pytest.mark.parametrize(("others", "is_marked"), [([2], True), ([2, 2], True), ([2, 1], False), ([1], False)])
def test_a_new_user_states_a_version_where_all_others_do(
    data_dir: Path, above: int | None, others: list[int], is_marked: bool
) -> None:
    tree = {f"user {n}": {"profiles": {}} | ({MARK: 2} if version == 2 else {}) for n, version in enumerate(others)}
    store = store_of(data_dir, {"later": [1], **tree}, journal_above=above)
    store.put([ActiveModeFactory(user_id="7", updated_at=moment(1)), ProfileFactory(user_id="7")])
    store.put([ProfileFactory(user_id="8")])
    assert [one.updated_at for one in FileStore(DOMAIN, Document(data_dir, DOMAIN.file)).find(ActiveMode)] == [
        moment(1) if is_marked else None
    ]
    store.fold()
    after = json.loads((data_dir / DOMAIN.file).read_bytes())
    assert [MARK in after[name] for name in "78"] == [is_marked, is_marked]


def test_a_new_user_states_none_once_no_other_user_does(data_dir: Path) -> None:
    store = store_of(data_dir, {"ana": {MARK: 2, "profiles": {}}})
    store.put([ProfileFactory(user_id="bo", mode_id="m")])
    store.delete(Profile, [("bo", "m")])
    store.put([ProfileFactory(user_id="ana", mode_id="m")])
    store.delete(Profile, [("ana", "m")])
    store.put([ProfileFactory(user_id="cy", mode_id="m")])
    assert list(json.loads((data_dir / DOMAIN.file).read_bytes())["cy"]) == ["profiles"]


@pytest.mark.parametrize(
    ("time", "is_warned"), [(5, True), ("yesterday", True), ({}, True), (None, False), ("2024-01-01T24:00Z", True)]
)
def test_a_time_that_does_not_decode_is_kept_until_the_mode_is_set_again(
    data_dir: Path, time: Any, is_warned: bool
) -> None:
    tree = {"ana": {MARK: 2, "activeMode": "m", "profiles": {"m": profile("ana", "m")}, SINCE: time}}
    found = [one for entry in entries(DOMAIN, stringify(tree)) for one in entry.findings]
    assert [(one.path, one.severity.value) for one in found] == ([(f"$.ana.{SINCE}", "warning")] if is_warned else [])
    store = store_of(data_dir, tree)
    store.put([ProfileFactory(user_id="ana", mode_id="n")])
    assert json.loads((data_dir / DOMAIN.file).read_bytes())["ana"][SINCE] == time
    store.put([ActiveModeFactory(user_id="ana", updated_at=datetime(2024, 1, 1, tzinfo=UTC))])
    after = json.loads((data_dir / DOMAIN.file).read_bytes())["ana"]
    assert list(after) == [MARK, "activeMode", SINCE, "profiles"]
    assert after[SINCE] == "2024-01-01T00:00:00.000Z"


@pytest.mark.parametrize("mark", ["2", True, None, 2.5, [], -1, 0, 1])
def test_without_version_2_the_time_is_an_unknown_member(mark: Any) -> None:
    tree = {"ana": {MARK: mark, "activeMode": "m", SINCE: "2024-01-01", "profiles": {"m": profile("ana", "m")}}}
    content = Content(DOMAIN, stringify(tree))
    content.upsert([ActiveModeFactory(user_id="ana", mode_id="n", updated_at=moment(1))], None)
    assert content.view.find(ActiveMode) == [ActiveMode(user_id="ana", mode_id="n")]
    assert json.loads(content.encode())["ana"] == tree["ana"] | {"activeMode": "n"}


def test_an_erasure_and_a_compaction_keep_the_version_of_the_others() -> None:
    active = {"activeMode": "m", SINCE: "2024-01-01T00:00:00.000Z"}
    ana = {MARK: 2, **active, "profiles": {"m": profile("ana", "m"), "bad": 5}}
    bo, empty = {MARK: 2, **active, "profiles": {"m": profile("bo", "m")}}, {MARK: 2, "profiles": {}}
    data = stringify({"ana": ana, "bo": bo, "cy": empty})
    erased, gone = without_user(DOMAIN, data, "bo", ())
    assert json.loads(erased) == {"ana": ana, "cy": empty}
    assert [type(one.record) for one in gone if one.record] == [ActiveMode, Profile]
    assert json.loads(compacted(DOMAIN, data).content.encode()) == {
        "ana": ana | {"profiles": {"m": profile("ana", "m")}}, "bo": bo,
    }  # fmt: skip


def test_an_active_mode_with_a_time_is_erased_by_its_time() -> None:
    def user_since(time: str) -> dict[str, Any]:
        return {MARK: 2, "activeMode": "m", SINCE: time, "profiles": {}}

    erasures = ErasureList(Erasure(digest=digest_of(name, "ab"), salt="ab", at=moment(10)) for name in ("ana", "bo"))
    tree = {"ana": user_since("2023-12-31T00:00:00.000Z"), "bo": user_since("2024-12-31T00:00:00.000Z")}
    assert json.loads(without_erased(DOMAIN, stringify(tree), erasures)[0]) == {"bo": tree["bo"]}


def test_a_user_who_is_called_as_the_mark_is_a_user_like_any_other(data_dir: Path) -> None:
    store = store_of(data_dir, {MARK: {"activeMode": "m", "profiles": {}}, "ana": {MARK: 2, "profiles": {}}})
    store.put([ProfileFactory(user_id=MARK, mode_id=MARK), ProfileFactory(user_id="ana", mode_id=SINCE)])
    assert store.count(Profile) == 2
    assert VERSIONS.counts(json.loads((data_dir / DOMAIN.file).read_bytes())) == {1: 1, 2: 1}


@pytest.mark.parametrize(
    "data",
    [
        b'{"bo":{"profiles":{}},"ana":{"schemaVersion":3,"profiles":{}}}',
        b'{"ana":{"schema\\u0056ersion":3,"profiles":{}}}',
        b'{"ana":{"schemaVersion":3.0,"profiles":{}}}',
        b'{"ana":{"schemaVersion":%s}}' % (b"9" * 5000),
        b'{"schemaVersion":3,"users":{}}',
        b'{"ana":{"activeMode":"\\ud800"},"bo":{"schemaVersion":3}}',
    ],
)
def test_a_newer_user_is_refused_for_reading_and_writing_and_no_byte_changes(data_dir: Path, data: bytes) -> None:
    path = data_dir / DOMAIN.file
    path.parent.mkdir(mode=0o700)
    path.write_bytes(data)
    with pytest.raises(NewerVersion, match="luna/profiles.json"):
        entries(DOMAIN, data)
    store = FileStore(DOMAIN, Document(data_dir, DOMAIN.file))
    for act in (
        lambda: store.find(Profile),
        lambda: store.put([ProfileFactory(user_id="bo")]),
        lambda: store.delete_where(Profile, {"user_id": "bo"}),
        lambda: store.replace(b"{}"),
        lambda: store.filter(bytes),
        lambda: store.compact(lambda _: None),
    ):
        with pytest.raises(NewerVersion, match="profiles.json: .* has schema version .* knows versions up to 2"):
            act()
    assert path.read_bytes() == data
