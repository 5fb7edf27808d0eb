"""The contract suite: what `orbsite.storage.base.store` promises, each promise a test over any store and case."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from orbsite.storage.base.query import memory_size
from orbsite.storage.base.snapshot import snapshots
from orbsite.storage.errors import Conflict, InvalidRecord, OwnerConflict
from orbsite.storage.findings import Finding, Unreadable
from orbsite.storage.records.digest import digest
from orbsite.storage.records.record import Extra
from orbsite.testing.cases import BEGIN, CASES, Case
from orbsite.testing.harness import TO_SPOIL, Harness


class StoreContract:
    """The promises of `orbsite.storage.base.store`, each a test that runs for every kind of record in `cases`.

    A subclass whose name begins with `Test` says how its stores are opened, in `harness_in`.
    """

    cases: ClassVar[Sequence[Case]] = CASES

    def harness_in(self, directory: Path) -> Harness:
        """Return the harness of an empty store, which may keep files in a directory of its own."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test for every case."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=lambda case: case.id)

    @pytest.fixture
    def harness(self, tmp_path: Path) -> Harness:
        """The store under test."""
        return self.harness_in(tmp_path)

    def test_what_was_put_is_fetched_equal(self, harness: Harness, case: Case) -> None:
        record = case.make()
        harness.open(case.domain).put([record])
        assert harness.open(case.domain).fetch(case.kind, [record.key]) == {record.key: record}

    def test_what_was_put_is_there_when_looked_at_from_behind(self, harness: Harness, case: Case) -> None:
        first, second = case.changed(case.make()), case.changed(case.make(), 1)
        harness.open(case.domain).put([first, second])
        assert harness.witnesses(case) == {first.key: case.values[0], second.key: case.values[1]}

    def test_missing_keys_are_absent(self, harness: Harness, case: Case) -> None:
        store, record, missing = harness.open(case.domain), case.make(), case.make()
        store.put([record])
        assert list(store.fetch(case.kind, [missing.key, record.key])) == [record.key]

    def test_another_users_record_is_absent_where_a_user_is_given(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        store.put([record])
        assert store.fetch(case.kind, [record.key], user_id="another-user") == {}
        assert store.fetch(case.kind, [record.key], user_id=record.user_id) == {record.key: record}

    def test_put_replaces(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        store.put([record])
        store.put([case.changed(record)])
        assert store.fetch(case.kind, [record.key]) == {record.key: case.changed(record)}
        assert store.count(case.kind) == 1

    def test_the_last_of_a_key_wins(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        store.put([case.changed(record), record, case.changed(record, 1)])
        assert store.fetch(case.kind, [record.key]) == {record.key: case.changed(record, 1)}

    def test_put_is_all_or_nothing_when_a_record_is_invalid(self, harness: Harness, case: Case) -> None:
        store, good = harness.open(case.domain), case.make()
        bad = msgspec.structs.replace(case.make(), user_id="x" * 256)
        with pytest.raises(InvalidRecord):
            store.put([good, bad])
        assert store.fetch(case.kind, [good.key]) == {}

    def test_put_is_all_or_nothing_when_an_owner_would_change(self, harness: Harness, case: Case) -> None:
        store, taken, free = harness.open(case.domain), case.make(), case.make()
        store.put([taken])
        if "user_id" in case.kind.key_fields:  # then another user's record has another key, and both are kept
            store.put([free, case.stolen(taken)])
            assert store.count(case.kind) == 3
        else:
            with pytest.raises(OwnerConflict):
                store.put([free, case.stolen(taken)])
            assert store.fetch(case.kind, [free.key, taken.key]) == {taken.key: taken}

    def test_invalid_records_are_refused_with_the_path_of_each_problem(self, harness: Harness, case: Case) -> None:
        store = harness.open(case.domain)
        for bad in ("", "a\x00b", "a\ud800"):
            record = msgspec.structs.replace(case.make(), user_id=bad)
            with pytest.raises(InvalidRecord) as caught:
                store.put([record])
            assert caught.value.findings[0].path == "$.userId"
            with pytest.raises(InvalidRecord):
                store.add(record)
        assert store.count(case.kind) == 0

    def test_put_with_the_right_digest_replaces(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        store.put([record])
        store.put([case.changed(record)], expect=digest(record))
        assert store.fetch(case.kind, [record.key]) == {record.key: case.changed(record)}

    def test_put_with_another_digest_is_a_conflict(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        store.put([case.changed(record)])
        with pytest.raises(Conflict):
            store.put([case.changed(record, 1)], expect=digest(record))
        assert store.fetch(case.kind, [record.key]) == {record.key: case.changed(record)}

    def test_put_with_a_digest_where_nothing_is_is_a_conflict(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        with pytest.raises(Conflict):
            store.put([record], expect=digest(record))
        assert store.count(case.kind) == 0

    def test_expect_goes_with_a_single_record(self, harness: Harness, case: Case) -> None:
        with pytest.raises(ValueError, match="single"):
            harness.open(case.domain).put(case.many(2), expect="0" * 64)
        with pytest.raises(ValueError, match="single"):
            harness.open(case.domain).put([case.make()], expect="0" * 64, free=True)
        with pytest.raises(ValueError, match="single"):
            harness.open(case.domain).delete(case.kind, _keys(case.many(2)), expect="0" * 64)

    def test_put_where_all_is_free_adds(self, harness: Harness, case: Case) -> None:
        store, (there, new) = harness.open(case.domain), case.many(2)
        store.put([there], free=True)
        store.put([there, new], free=True)
        assert store.fetch(case.kind, _keys([there, new])) == {there.key: there, new.key: new}

    def test_put_where_a_key_is_taken_is_a_conflict_and_writes_nothing(self, harness: Harness, case: Case) -> None:
        store, (taken, new) = harness.open(case.domain), case.many(2)
        store.put([taken])
        for records in ([case.changed(taken), new], [new, case.changed(taken)]):
            with pytest.raises(Conflict):
                store.put(records, free=True)
        assert harness.open(case.domain).fetch(case.kind, _keys([taken, new])) == {taken.key: taken}

    def test_add_adds_where_the_key_is_free(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        assert store.add(record) == (record, True)
        assert harness.open(case.domain).fetch(case.kind, [record.key]) == {record.key: record}

    def test_add_returns_what_is_there_already(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        store.put([record])
        assert store.add(case.changed(record)) == (record, False)
        assert store.fetch(case.kind, [record.key]) == {record.key: record}

    def test_delete_removes_and_counts_what_there_was(self, harness: Harness, case: Case) -> None:
        store, (gone, kept, never) = harness.open(case.domain), case.many(3)
        store.put([gone, kept])
        assert store.delete(case.kind, [gone.key, never.key]) == 1
        assert list(harness.witnesses(case)) == [kept.key]

    def test_delete_with_the_right_digest_removes(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        store.put([record])
        assert store.delete(case.kind, [record.key], expect=digest(record)) == 1
        assert not harness.witnesses(case)

    def test_delete_with_another_digest_is_a_conflict(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        store.put([case.changed(record)])
        with pytest.raises(Conflict):
            store.delete(case.kind, [record.key], expect=digest(record))
        assert list(harness.witnesses(case)) == [record.key]
        with pytest.raises(Conflict):
            store.delete(case.kind, [case.make().key], expect=digest(record))

    def test_delete_leaves_another_users_record(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        store.put([record])
        assert store.delete(case.kind, [record.key], user_id="another-user") == 0
        assert store.delete(case.kind, [record.key], user_id=record.user_id) == 1

    def test_users_who_share_names_are_kept_apart(self, harness: Harness, case: Case) -> None:
        if "user_id" not in case.kind.key_fields or len(case.kind.key_fields) == 1:
            return
        store, tied = harness.open(case.domain), {case.kind.time_field or "user_id": BEGIN}
        mine = [case.changed(one) for one in case.many(3, **tied)]
        theirs = [case.changed(case.stolen(one), 1) for one in mine]
        store.put([*mine, *theirs])
        assert harness.witnesses(case) == {one.key: getattr(one, case.witness) for one in [*mine, *theirs]}
        for some, other in ((mine, theirs), (theirs, mine)):
            user = {"user_id": some[0].user_id}
            assert store.fetch(case.kind, _keys(some)) == {one.key: one for one in some}
            assert store.fetch(case.kind, _keys(other), **user) == {}
            assert store.delete(case.kind, _keys(other), **user) == 0
            assert sorted(_keys(store.find(case.kind, user))) == sorted(_keys(some))
        name = {case.kind.key_fields[-1]: getattr(mine[0], case.kind.key_fields[-1])}
        assert {one.key for one in store.find(case.kind, name)} == {mine[0].key, theirs[0].key}
        assert store.delete(case.kind, [mine[0].key]) == 1
        assert store.add(case.changed(mine[1], 1)) == (mine[1], False)
        assert store.add(mine[0]) == (mine[0], True)
        store.put([case.changed(mine[2], 1)], expect=digest(mine[2]))
        assert store.delete_where(case.kind, {"user_id": mine[0].user_id}) == 3
        assert {one.key: one for one in harness.open(case.domain).find(case.kind)} == {one.key: one for one in theirs}

    def test_delete_where_removes_what_matches(self, harness: Harness, case: Case) -> None:
        store, mine = harness.open(case.domain), case.many(2, user_id="only-me")[:1]
        others = case.many(2)
        store.put([*mine, *others])
        assert store.delete_where(case.kind, {"user_id": "only-me"}) == 1
        assert sorted(harness.witnesses(case)) == sorted(_keys(others))

    def test_unknown_keys_are_kept(self, harness: Harness, case: Case) -> None:
        extra = Extra(
            score=1e16,
            large=[1e23, 1.5e300, 1.7976931348623157e308],
            ratio=0.1,
            nested={"b": [None, True, {"é": "x"}], "a": 5e-324},
            notes=None,
            minus=-0.0,
        )
        record = msgspec.structs.replace(case.make(), extra=extra)
        if not case.kind.takes_unknown_keys:
            with pytest.raises(InvalidRecord, match="no room"):
                harness.open(case.domain).put([record])
            return
        harness.open(case.domain).put([record])
        found = harness.open(case.domain).fetch(case.kind, [record.key])[record.key]
        assert digest(found) == digest(record)
        assert found.extra == extra

    def test_ids_are_opaque(self, harness: Harness, case: Case) -> None:
        names = [
            "../..",
            "a/b",
            "%00",
            "'; DROP TABLE x; --",
            "__proto__",
            "42",
            "7",
            "é",
            "e\u0301",
            "A",
            "a",
            "😀" * 255,
            " ",
        ]
        field = case.kind.key_fields[-1]
        records = [msgspec.structs.replace(case.make(), **{field: name}) for name in names]
        store = harness.open(case.domain)
        store.put(records)
        assert store.fetch(case.kind, _keys(records)) == {record.key: record for record in records}
        assert sorted(harness.witnesses(case)) == sorted(_keys(records))

    def test_find_matches_fields_code_point_by_code_point(self, harness: Harness, case: Case) -> None:
        store = harness.open(case.domain)
        records = [case.make(user_id=user) for user in ("ana", "Ana", "ána", "a%", "a_")]
        store.put(records)
        for record in records:
            assert store.find(case.kind, {"user_id": record.user_id}) == [record]

    def test_find_refuses_what_cannot_be_answered(self, harness: Harness, case: Case) -> None:
        store = harness.open(case.domain)
        for options in ({"where": {"digest": "x"}}, {"limit": -1}, {"since": BEGIN.replace(tzinfo=None)}):
            with pytest.raises(ValueError, match=r"."):
                store.find(case.kind, **options)

    def test_find_is_newest_first_by_code_point(self, harness: Harness, case: Case) -> None:
        store = harness.open(case.domain)
        field = case.kind.key_fields[-1]
        tied = {} if case.kind.time_field is None else {case.kind.time_field: BEGIN}
        names = ["a", "B", "Z", "_", "é", "z", "😀", "\uffff", "10", "9"]
        records = [msgspec.structs.replace(case.make(**tied), **{field: name}) for name in names]
        store.put(records)
        expected = sorted(records, key=lambda record: record.order, reverse=True)
        assert _keys(store.find(case.kind)) == _keys(expected)
        assert _keys(store.find(case.kind, oldest_first=True)) == _keys(reversed(expected))

    def test_find_returns_the_latest_n(self, harness: Harness, case: Case) -> None:
        store, records = harness.open(case.domain), case.many(5)
        store.put(records)
        newest_first = sorted(records, key=lambda record: record.order, reverse=True)
        assert store.find(case.kind, limit=3) == newest_first[:3]
        assert store.find(case.kind, limit=0) == []

    def test_a_cursor_neither_skips_nor_repeats(self, harness: Harness, case: Case) -> None:
        store = harness.open(case.domain)
        tied = {} if case.kind.time_field is None else {case.kind.time_field: BEGIN}
        records = [*case.many(4, **tied), *case.many(3)]
        store.put(records)
        for oldest_first in (False, True):
            seen: list[Any] = []
            for _ in range(20):
                after = seen[-1].order if seen else None
                seen += store.find(case.kind, limit=2, after=after, oldest_first=oldest_first)
                if len(seen) == 4:
                    store.put([case.make()])
            assert len(set(_keys(seen))) == len(seen)
            assert set(_keys(records)) <= set(_keys(seen))

    def test_since_is_within_and_until_is_not(self, harness: Harness, case: Case) -> None:
        name, store = case.kind.time_field, harness.open(case.domain)
        if name is None:
            with pytest.raises(ValueError, match="since and until"):
                store.find(case.kind, since=BEGIN)
            return
        step = timedelta(microseconds=1)
        records = [case.make(**{name: BEGIN + step * number}) for number in range(4)]
        store.put(records)
        found = store.find(case.kind, since=BEGIN + step, until=BEGIN + step * 3, oldest_first=True)
        assert {record.key for record in found} == set(_keys(records[1:3]))

    def test_a_tag_matches_as_a_whole(self, harness: Harness, case: Case) -> None:
        name, store = case.kind.tag_field, harness.open(case.domain)
        if name is None:
            with pytest.raises(ValueError, match="tag"):
                store.find(case.kind, tag="x")
            return
        tagged, other = case.make(**{name: ("orb", "x")}), case.make(**{name: ("orbit", "Orb")})
        store.put([tagged, other])
        assert store.find(case.kind, tag="orb") == [tagged]
        assert store.find(case.kind, tag="or") == []

    def test_text_is_found_in_any_case(self, harness: Harness, case: Case) -> None:
        store = harness.open(case.domain)
        if not case.kind.text_fields:
            with pytest.raises(ValueError, match="text"):
                store.find(case.kind, text="x")
            return
        found, other = case.changed(case.make()), case.make()
        value = "Die STRASSE 100% Création_予約"
        forms: dict[type[Any], Any] = {tuple: (value,), dict: {"deep": [{value: 1}]}}
        held = forms.get(type(case.values[0]), value)
        found = msgspec.structs.replace(found, **{case.witness: held})
        store.put([found, other])
        for text in ("straße", "création", "100%", "n_予"):
            assert store.find(case.kind, text=text, limit=1) == [found]
        assert store.find(case.kind, text="1%0") == []

    def test_find_ends_with_the_record_that_exceeds_so_many_bytes_and_pages_of_them_have_each_once(
        self, harness: Harness, case: Case
    ) -> None:
        store = harness.open(case.domain)
        store.put([case.changed(case.make(), number % 2) for number in range(9)])
        everything = store.find(case.kind)
        weights = [memory_size(record) for record in everything]
        assert len(everything) == 9
        for max_bytes in (0, weights[0], sum(weights[:2]) - 1, sum(weights[:4]), sum(weights)):
            seen, after = list[Any](), None
            for _ in everything:  # each page has a record at least
                found = store.find(case.kind, after=after, limit=7, max_bytes=max_bytes)
                assert len(found) <= 2 or sum(map(memory_size, found[:-1])) <= max_bytes
                goes_on = len(found) > 1 and sum(map(memory_size, found)) > max_bytes
                seen += found[:-1] if goes_on else found
                if not goes_on and len(found) < 7:
                    break
                after = seen[-1].order
            assert _keys(seen) == _keys(everything)
            assert len(seen) == 9

    def test_tag_or_text_with_a_limit_looks_past_what_does_not_match(self, harness: Harness, case: Case) -> None:
        if not case.kind.text_fields:
            return
        store, (old, *newer) = harness.open(case.domain), case.many(4)
        old = case.changed(old)
        store.put([old, *newer])
        wanted = next(iter(case.values[0])) if isinstance(case.values[0], tuple | dict) else case.values[0]
        assert store.find(case.kind, text=wanted, limit=1) == [old]

    def test_walk_yields_every_record_once_by_key(self, harness: Harness, case: Case) -> None:
        store, records = harness.open(case.domain), case.many(7)
        store.put(records)
        for page in (1, 3, 7, 100):
            assert list(store.walk(case.kind, page=page)) == sorted(records, key=lambda record: record.key)

    def test_walk_goes_on_while_others_write(self, harness: Harness, case: Case) -> None:
        store, records = harness.open(case.domain), case.many(6)
        store.put(records)
        walk = store.walk(case.kind, page=2)
        seen = [next(walk).key]
        store.put(case.many(3))
        store.delete(case.kind, [seen[0], records[-1].key])
        seen += [record.key for record in walk]
        assert len(set(seen)) == len(seen)
        assert set(_keys(records[:-1])) <= set(seen)

    def test_count_counts_records_and_values(self, harness: Harness, case: Case) -> None:
        store = harness.open(case.domain)
        assert store.count(case.kind) == 0
        store.put([case.make(user_id="a"), case.make(user_id="b"), *case.many(2, user_id="c")[:1]])
        assert store.count(case.kind) == 3
        assert store.count(case.kind, "user_id") == 3
        assert store.size() >= 0

    def test_nothing_is_written_by_reading(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        assert store.fetch(case.kind, [record.key]) == {}
        assert store.find(case.kind) == []
        assert list(store.walk(case.kind)) == []
        assert harness.witnesses(case) == {}

    def test_kinds_are_put_together(self, harness: Harness, case: Case) -> None:
        store = harness.open(case.domain)
        others = [other for other in self.cases if other.domain is case.domain]
        records = [other.make() for other in others]
        store.put(records)
        for other, record in zip(others, records, strict=True):
            assert store.fetch(other.kind, [record.key]) == {record.key: record}

    def test_instants_keep_their_microseconds(self, harness: Harness, case: Case) -> None:
        name, store = case.kind.time_field, harness.open(case.domain)
        if name is None:
            return
        moments = [BEGIN.replace(year=1), BEGIN.replace(year=9999), BEGIN + timedelta(microseconds=123_456)]
        records = [case.make(**{name: moment}) for moment in moments]
        store.put(records)
        assert store.fetch(case.kind, _keys(records)) == {record.key: record for record in records}

    def test_what_no_store_can_hold_is_absent(self, harness: Harness, case: Case) -> None:
        store, record = harness.open(case.domain), case.make()
        store.put([record])
        for name in ("\x00", "a\ud800", ""):
            key = (*record.key[:-1], name)
            assert store.fetch(case.kind, [key, record.key]) == {record.key: record}
            assert store.fetch(case.kind, [record.key], user_id=name) == {}
            assert store.find(case.kind, {"user_id": name}) == []
            assert store.delete(case.kind, [key]) == store.delete_where(case.kind, {"user_id": name}) == 0
        assert store.find(case.kind, limit=2**70) == [record]

    def test_what_was_returned_and_given_is_the_callers_own(self, harness: Harness, case: Case) -> None:
        if not case.kind.takes_unknown_keys:
            return
        store, given = harness.open(case.domain), case.make(extra=Extra(more={"n": [1]}))
        added, _ = store.add(given)
        key = given.key
        handed = [
            given,
            added,
            store.fetch(case.kind, [key])[key],
            store.find(case.kind)[0],
            next(store.walk(case.kind)),
        ]
        for record in handed:
            record.extra["more"]["n"].append(2)
        assert store.fetch(case.kind, [key])[key].extra == {"more": {"n": [1]}}
        assert harness.open(case.domain).fetch(case.kind, [key])[key].extra == {"more": {"n": [1]}}

    def test_reads_go_on_past_what_does_not_decode_and_name_it(self, harness: Harness, case: Case) -> None:
        whole, bad, spoiled = _spoiled(harness, case)
        store, findings = harness.open(case.domain), list[Finding]()
        assert list(store.walk(case.kind, page=2, findings=findings)) == whole
        assert _named(findings) == bad
        findings = []
        assert store.find(case.kind, oldest_first=True, findings=findings) == sorted(whole, key=lambda one: one.order)
        assert _named(findings) == bad
        findings = []
        fetched = store.fetch(case.kind, [*_keys(whole), spoiled.key], findings=findings)
        assert sorted(fetched.values(), key=_key) == whole
        assert _named(findings) == bad
        findings = []
        assert store.find(case.kind, {"user_id": "unknown-user"}, findings=findings) == []
        assert store.fetch(case.kind, [spoiled.key], user_id="unknown-user", findings=findings) == {}
        assert findings == []

    def test_a_snapshot_names_what_does_not_decode_and_shows_nothing_of_later(
        self, harness: Harness, case: Case
    ) -> None:
        whole, bad, _ = _spoiled(harness, case)
        store = harness.open(case.domain)
        with snapshots([store]) as (taken,):
            store.put([case.changed(whole[0])])
            store.delete(case.kind, [whole[1].key])
            findings = list[Finding]()
            found = list(taken.records(case.kind, findings))
            assert [one.record for one in found] == sorted(whole, key=lambda one: one.order)
            assert [taken.again(case.kind, one.at) for one in found] == [one.record for one in found]
            assert _named(findings) == bad


def _keys(records: Any) -> list[Any]:
    return [record.key for record in records]


def _spoiled(harness: Harness, case: Case) -> tuple[list[Any], list[Any], Any]:
    """Return the records that decode, by key, the keys that reads have to name, and the record that may be spoiled."""
    records = sorted(case.many(5, user_id="ana") if "user_id" not in case.kind.key_fields else case.many(5), key=_key)
    value = TO_SPOIL if isinstance(case.values[0], str) else (TO_SPOIL,)
    records[2] = msgspec.structs.replace(records[2], **{case.witness: value})
    harness.open(case.domain).put(records)
    if not harness.spoil(case, records[2]):
        return records, [], records[2]
    return [*records[:2], *records[3:]], [records[2].key], records[2]


def _key(record: Any) -> Any:
    return record.key


def _named(findings: list[Finding]) -> list[Any]:
    return [one.key for one in findings if isinstance(one, Unreadable)]
