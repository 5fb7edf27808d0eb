"""The engine of the casters: how a version is stated, which casters run, and what is refused or left."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from orbsite.storage.errors import NewerVersion, OrbError
from orbsite.storage.findings import Finding, warning
from orbsite.storage.records.versions import MARK, Step, Versions, is_marked, may_state, stated, unchanged


def _up(part: Any, path: str) -> tuple[Any, list[Finding]]:
    return part | {"form": "new"}, [warning(path, "made new")] if part["form"] == "odd" else []


def _down(part: Any, path: str) -> tuple[Any, list[Finding]]:
    return part | {"form": "old"}, [warning(path, "lost")] if part["form"] == "odd" else []


def _versions(*, by_member: bool) -> Versions:
    return Versions(
        steps=(Step(up=_up, down=_down), Step(up=unchanged, down=unchanged, reserved=frozenset({"since"}))),
        unit="parts",
        of_content=lambda part: 0 if part.get("form") == "old" else 1,
        by_member=by_member,
    )


WHOLE, BY_MEMBER = _versions(by_member=False), _versions(by_member=True)


@pytest.mark.parametrize(
    ("value", "version"),
    [
        (2, 2), (0, 0), (2.0, 2), (1e300, int(1e300)), (True, None), (False, None), (-1, None), (2.5, None),
        ("2", None), (None, None), ([2], None), ({"2": 2}, None),
        (msgspec.Raw(b"2"), 2), (msgspec.Raw(b"1e400"), None), (msgspec.Raw(b'"2"'), None),
    ],
)  # fmt: skip
def test_only_an_integer_that_is_not_negative_states_a_version(value: Any, version: int | None) -> None:
    assert stated({MARK: value}) == version
    assert is_marked({MARK: value}) == (version is not None and version >= 2)


def test_an_integer_with_more_digits_than_can_be_parsed_is_a_newer_version() -> None:
    with pytest.raises(NewerVersion, match="above 1000000000"):
        WHOLE.counts({MARK: msgspec.Raw(b"9" * 5000)})


@pytest.mark.parametrize("key", ['"schemaVersion"', '"schema\\u0056ersion"'])
def test_a_member_may_be_spelled_with_escapes(key: str) -> None:
    assert may_state(f"{{{key}: 3}}".encode())
    assert not may_state(b'{"ana": {"version": 3}}')


def test_a_document_is_cast_over_each_version_in_between_and_back() -> None:
    old = {"form": "old", "later": [1]}
    new = WHOLE.cast(old, 2)
    assert list(new.tree.items()) == [(MARK, 2), ("form", "new"), ("later", [1])]
    assert new.counts == {"upgraded": 1}
    back = WHOLE.cast(new.tree, 0)
    assert (back.tree, back.counts, back.lost) == (old, {"downgraded": 1}, [])
    assert [WHOLE.version_of(one) for one in (old, WHOLE.cast(old, 1).tree, new.tree)] == [0, 1, 2]


def test_each_member_has_its_own_version_and_other_members_stay() -> None:
    tree = {"a": {"form": "old"}, "b": {MARK: 2, "form": "new"}, "c": [1], "d": {"form": "new"}}
    before = copy.deepcopy(tree)
    assert BY_MEMBER.counts(tree) == {0: 1, 1: 1, 2: 1}
    assert BY_MEMBER.version_of(tree) == 0
    done = BY_MEMBER.cast(tree, 1)
    assert done.tree == {"a": {"form": "new"}, "b": {"form": "new"}, "c": [1], "d": {"form": "new"}}
    assert done.counts == {"upgraded": 1, "downgraded": 1, "unchanged": 1}
    assert tree == before
    assert BY_MEMBER.version_of({}) == 1


def test_members_with_long_names_are_told_apart() -> None:
    tree = {"x" * 255 + end: {"form": "old", "end": end} for end in "ab"}
    done = BY_MEMBER.cast(tree, 1).tree
    assert {name: part["end"] for name, part in done.items()} == {name: name[-1] for name in tree}


def test_what_an_older_version_cannot_hold_and_what_an_upcast_decided_are_listed_apart() -> None:
    down = BY_MEMBER.cast({"a": {"form": "odd"}}, 0)
    assert ([one.path for one in down.lost], down.notes) == (["$.a"], [])
    up = WHOLE.cast({MARK: 0, "form": "odd"}, 1)
    assert ([one.path for one in up.notes], up.lost) == (["$"], [])
    assert MARK not in up.tree


def test_what_was_saved_in_the_oldest_form_into_a_newer_document_becomes_version_1() -> None:
    assert WHOLE.cast({MARK: 2, "form": "old"}, 1).tree == {"form": "new"}


@pytest.mark.parametrize("version", [3, 3.0, 10**400, 1e300])
def test_a_newer_version_is_refused_with_what_to_do(version: Any) -> None:
    for versions, tree in ((WHOLE, {MARK: version}), (BY_MEMBER, {"a": {}, "b": {MARK: version}})):
        for use in (versions.counts, versions.version_of, lambda one, by=versions: by.cast(one, 0)):
            with pytest.raises(NewerVersion, match="knows versions up to 2; nothing was read or changed. Update"):
                use(tree)
    with pytest.raises(NewerVersion, match=r"\$\.b has"):
        BY_MEMBER.counts({"b": {MARK: version}})


@pytest.mark.parametrize("to", [-1, 3])
def test_a_version_that_does_not_exist_is_refused(to: int) -> None:
    with pytest.raises(OrbError, match="versions 0 to 2"):
        WHOLE.cast({}, to)


@pytest.mark.parametrize("mark", ["2", True, None, [2], -1, {}])
def test_a_member_that_states_no_version_is_kept_and_is_in_the_way_of_an_upgrade_only(mark: Any) -> None:
    part = {MARK: mark, "form": "new"}
    assert WHOLE.cast(part, 0).tree == {MARK: mark, "form": "old"}
    done = WHOLE.cast(part, 2)
    assert (done.tree, done.counts) == (part, {"left": 1})
    assert [(one.path, one.severity.value) for one in done.notes] == [("$.schemaVersion", "error")]


def test_a_member_that_a_newer_version_gives_a_meaning_is_in_the_way_of_that_upgrade_only() -> None:
    part = {"form": "old", "since": 1}
    assert WHOLE.cast(part, 1).tree == {"form": "new", "since": 1}
    assert WHOLE.cast(part, 2).counts == {"left": 1}
    assert WHOLE.cast({MARK: 2, "form": "new", "since": 1}, 2).counts == {"unchanged": 1}


def test_a_part_that_is_the_same_in_both_versions_is_unchanged() -> None:
    assert WHOLE.cast({"form": "old"}, 0).counts == {"unchanged": 1}
    same = Versions(steps=(Step(up=unchanged, down=unchanged),), unit="parts", of_content=lambda _: 1)
    assert same.cast({"a": 1}, 0).counts == {"unchanged": 1}
