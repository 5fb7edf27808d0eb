"""Texts in the database are sealed with a key of their user: nothing readable stays, and what was destroyed stays closed."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.db.migrations.exceptions import IrreversibleError

from luna.domain import DOMAIN as LUNA
from luna.models import ProfileRow
from luna.records import Profile
from orbsite.models.ledger import Change, Reject
from orbsite.models.user_keys import StoredUserKeys, UserKey, destroy
from orbsite.operations.backup.create import backup
from orbsite.operations.backup.restore import restore
from orbsite.operations.files.sealing import key_status, rotate, seal
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.migration.migrate import migrate
from orbsite.operations.migration.rollback import rollback
from orbsite.operations.migration.verify import verify
from orbsite.operations.records import sealing
from orbsite.operations.records.delete import remove
from orbsite.operations.records.edit import edit
from orbsite.operations.records.erase import ELSEWHERE, erase
from orbsite.operations.records.sanitize import sanitize
from orbsite.operations.retention.apply import retain
from orbsite.operations.search_index import index
from orbsite.storage.clock import utc_now
from orbsite.storage.errors import KeyUnavailable, RecordUnreadable
from orbsite.storage.records import sealed_columns
from orbsite.storage.records.domain import registered
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sealing.cells import DataKey
from orbsite.storage.sql import bulk
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import file_store, open_sql_store
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ObjectProfileFactory, ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

CANARY = "canary-4f1c"
OLD, NEW, WRONG = (f"{name}:{base64.b64encode(secret * 32).decode()}" for name, secret in
                   (("old", b"o"), ("new", b"n"), ("old", b"x")))  # fmt: skip
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def now() -> datetime:
    return NOW


@pytest.fixture(autouse=True)
def settings_of_places(settings: Any, tmp_path: Path) -> Any:
    settings.ORB_PERSISTENCE = "sql"
    settings.ORB_DATA_DIR, settings.ORB_BACKUP_DIR = tmp_path / "data", tmp_path / "backups"
    return settings


@pytest.fixture(params=["default", "postgresql"])
def alias(request: pytest.FixtureRequest) -> str:
    return "default" if request.param == "default" else str(request.getfixturevalue("postgresql_alias"))


@pytest.fixture
def sealed(settings: Any) -> None:
    settings.ORB_KEYS = OLD
    forget_keys()


def forget_keys() -> None:
    """As in a new process."""
    for keys in sealed_columns._source:
        assert isinstance(keys, StoredUserKeys)
        keys.forget()


def reflection(name: str = "r", user: str = "ana", **fields: Any) -> Any:
    given = {
        "input": f"{CANARY} {name}",
        "output": f"Größe {CANARY}\n🚀",
        "notes": CANARY,
        "session_id": "s",
        "created_at": NOW,
    }
    return ReflectionFactory(id=name, user_id=user, **{**given, "extra": {"score": CANARY}, **fields})


def some() -> list[Any]:
    return [
        reflection("r"),
        reflection("plain", notes=None, extra=None),
        reflection("orb:sealed:1:", input="orb:sealed:1:AAAA", output="orb:plain:1:x", notes="orb:sealed:1:"),
        reflection("r", "bo"),
    ]


def profiles() -> list[Any]:
    return [
        ProfileFactory(user_id="ana", mode_id="list", preferences=(CANARY, "ü"), constraints=(), updated_at=NOW),
        ObjectProfileFactory(
            user_id="ana", mode_id="object", preferences={"orb:sealed:1": CANARY}, constraints={}, updated_at=NOW
        ),
        ObjectProfileFactory(
            user_id="bo", mode_id="object", preferences={"orb:plain:1": {"a": 1.5}}, constraints={}, updated_at=NOW
        ),
    ]


def saved(alias: str) -> dict[tuple[str, ...], Any]:
    te, luna = SqlStore(TE, alias), SqlStore(LUNA, alias)
    return {one.key: one for one in (*te.find(Reflection), *luna.find(Profile))}


def fill(alias: str) -> dict[tuple[str, ...], Any]:
    SqlStore(TE, alias).put(some())
    SqlStore(LUNA, alias).put(profiles())
    return saved(alias)


def stored(alias: str) -> str:
    """Return everything that the tables hold."""
    connection = connections[alias]
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            found += [
                bytes(cell).decode("latin-1") if isinstance(cell, bytes | memoryview) else str(cell)
                for row in cursor.fetchall()
                for cell in row
            ]
    return "\n".join(found)


def cells(alias: str) -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT user_id, id, input, output, notes, extra FROM te_reflections ORDER BY 1, 2")
        return cursor.fetchall()


@pytest.mark.usefixtures("sealed")
def test_nothing_readable_is_stored_and_all_of_it_is_read(alias: str) -> None:
    fill(alias)
    forget_keys()
    assert saved(alias) == {one.key: one for one in (*some(), *profiles())}
    assert CANARY not in stored(alias)
    assert UserKey.objects.using(alias).count() == 2
    assert SqlStore(TE, alias).find(Reflection, {"user_id": "ana"}, text=f"{CANARY} r") == [some()[0]]


def test_texts_that_look_sealed_are_read_as_they_were_saved(alias: str) -> None:
    assert fill(alias) == {one.key: one for one in (*some(), *profiles())}
    rows = ReflectionRow.objects.using(alias).filter(id="orb:sealed:1:")
    assert [row.record() for row in rows] == [some()[2]]


@pytest.mark.usefixtures("sealed")
def test_each_cell_is_bound_to_its_row_and_column(alias: str) -> None:
    fill(alias)
    table = "UPDATE te_reflections SET {} = (SELECT {} FROM te_reflections o WHERE o.user_id = %s AND o.id = %s) "
    where = "WHERE user_id = 'ana' AND id = 'r'"
    for column, source, key in (
        ("input", "input", ("ana", "plain")),
        ("input", "output", ("ana", "r")),
        ("input", "input", ("bo", "r")),
        ("extra", "extra", ("ana", "orb:sealed:1:")),
    ):
        with transaction.atomic(alias):
            with connections[alias].cursor() as cursor:
                cursor.execute(table.format(column, source) + where, key)
            store, found = SqlStore(TE, alias), list[Any]()
            assert store.fetch(Reflection, [("ana", "r")], findings=found) == {}
            assert "belongs in another row" in found[0].message
            with pytest.raises(RecordUnreadable):
                store.put([reflection("r", input="new")])
            transaction.set_rollback(True, using=alias)


@pytest.mark.usefixtures("sealed")
def test_ids_that_read_alike_together_are_not_the_same_place(alias: str) -> None:
    SqlStore(TE, alias).put([reflection("c", "a|b"), reflection("b|c", "a")])
    rows = ReflectionRow.objects.using(alias)
    rows.filter(id="b|c").update(input=rows.get(id="c").input)
    assert [one.owner for one in SqlStore(TE, alias).find(Reflection)] == ["a|b"]


@pytest.mark.usefixtures("sealed")
def test_no_flip_and_no_cut_of_a_cell_is_read(alias: str) -> None:
    SqlStore(TE, alias).put([reflection()])
    (cell,) = ReflectionRow.objects.using(alias).values_list("input", flat=True)
    draw, store = random.Random(7), SqlStore(TE, alias)
    tried = 0
    for at in range(len(cell)):
        for changed in (cell[:at], cell[:at] + chr(ord(cell[at]) ^ 1 << draw.randrange(6)) + cell[at + 1 :]):
            if changed == cell or "\x00" in changed:
                continue
            ReflectionRow.objects.using(alias).update(input=changed)
            assert store.find(Reflection) == [], changed
            tried += 1
    assert tried > 2 * len(cell) - 20


@pytest.mark.usefixtures("sealed")
def test_plain_rows_are_refused_and_not_overwritten_until_they_are_taken_in(alias: str, settings: Any) -> None:
    settings.ORB_KEYS = ""
    fill(alias)
    settings.ORB_KEYS = OLD
    found: list[Any] = []
    assert SqlStore(TE, alias).find(Reflection, findings=found) == []
    assert "seal_orb_data --apply" in found[0].message
    with pytest.raises(RecordUnreadable):
        SqlStore(TE, alias).put([reflection(input="new")])


def test_what_was_plain_is_sealed_and_comes_back_as_it_was(settings: Any, tmp_path: Path) -> None:
    before, plain = fill("default"), cells("default")
    index(registered(), now=now)
    store = SqlStore(TE)
    Change.objects.create(run=_run(), domain="te", kind="reflections", key='["ana","x"]', before=f'{{"{CANARY}": 1}}')
    Reject.objects.create(run=_run(), domain="te", kind="reflections", path="$", reason="", original=CANARY)
    assert CANARY in stored("default")
    settings.ORB_KEYS = OLD
    domains, base = registered(), tmp_path / "data"
    planned = seal(domains, base, apply=False)
    assert planned.domains["database"].total("to write") == 9
    assert (cells("default"), UserKey.objects.count()) == (plain, 0)
    assert seal(domains, base, apply=True).domains["database"].total("written") == 9
    assert CANARY not in stored("default")
    forget_keys()
    assert saved("default") == before
    assert [CANARY in one for one in (Change.objects.get().before, Reject.objects.get().original)] == [True, True]
    assert seal(domains, base, apply=True).domains["database"].total("written") == 0
    assert key_status(domains, base, tmp_path / "backups").ok
    assert seal(registered(["luna"]), base, apply=True, unseal=True).domains["database"].total("written") == 3
    assert UserKey.objects.count() == 3
    report = seal(domains, base, apply=True, unseal=True)
    assert (report.ok, report.domains["database"].total("written")) == (True, 6)
    assert (cells("default"), UserKey.objects.count()) == (plain, 0)
    settings.ORB_KEYS = ""
    assert saved("default") == before
    assert store.count(Reflection) == 4


def _run() -> Any:
    from orbsite.models.ledger import Run

    return Run.objects.create(operation="migrate", started_at=NOW)


@pytest.mark.usefixtures("sealed")
def test_a_rotation_seals_the_keys_alone(settings: Any, tmp_path: Path) -> None:
    before, kept = fill("default"), cells("default")
    settings.ORB_KEYS = f"{NEW},{OLD}"
    domains, base = registered(), tmp_path / "data"
    status = key_status(domains, base, tmp_path / "backups")
    assert (status.ok, status.domains["database"].facts["key old: data keys"]) == (False, 2)
    assert rotate(domains, base, apply=False).domains["database"].total("to write") == 2
    assert set(UserKey.objects.values_list("wrapped_by", flat=True)) == {"old"}
    assert rotate(domains, base, apply=True).domains["database"].total("written") == 2
    settings.ORB_KEYS = NEW
    forget_keys()
    assert (cells("default"), saved("default")) == (kept, before)
    assert key_status(domains, base, tmp_path / "backups").ok


@pytest.mark.parametrize(("keys", "says"), [("", "no key is configured"), (NEW, "not among"), (WRONG, "another key")])
def test_without_the_right_key_nothing_is_read_or_written(
    sealed: None, alias: str, settings: Any, keys: str, says: str
) -> None:
    fill(alias)
    before = stored(alias)
    settings.ORB_KEYS = keys
    forget_keys()
    store = SqlStore(TE, alias)
    with pytest.raises(KeyUnavailable, match=says):
        store.find(Reflection)
    with pytest.raises(KeyUnavailable, match=says):
        store.put([reflection(input="new")])
    with pytest.raises(KeyUnavailable, match=says):
        store.delete(Reflection, [("ana", "r")])
    assert stored(alias) == before


@pytest.mark.usefixtures("sealed")
def test_a_process_without_keys_writes_nothing_plain_beside_sealed_rows(settings: Any) -> None:
    fill("default")
    settings.ORB_KEYS = ""
    forget_keys()
    with pytest.raises(KeyUnavailable, match="no keys are configured"):
        open_sql_store(TE)
    settings.ORB_KEYS = OLD
    assert open_sql_store(TE).count(Reflection) == 4


@pytest.mark.usefixtures("sealed")
def test_the_keys_stay_where_a_text_was_sealed_while_all_were_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("default")
    remove_keys = sealing._remove_keys

    def save_first(*arguments: Any) -> None:
        SqlStore(TE).put([reflection("late")])
        remove_keys(*arguments)

    monkeypatch.setattr(sealing, "_remove_keys", save_first)
    report = seal(registered(), tmp_path / "data", apply=True, unseal=True)
    assert (report.ok, UserKey.objects.filter(user_id="ana").count()) == (False, 1)
    assert "stop the servers" in str(report.domains["database"].findings)
    assert SqlStore(TE).fetch(Reflection, [("ana", "late")])["ana", "late"].input == f"{CANARY} late"


@pytest.mark.usefixtures("sealed")
def test_the_table_of_keys_is_not_removed_while_it_has_some() -> None:
    SqlStore(TE).put([reflection()])
    try:
        with pytest.raises(IrreversibleError, match="seal_orb_data --unseal"):
            call_command("migrate", "orbsite", "0001", verbosity=0)
        assert saved("default")
    finally:
        call_command("migrate", "orbsite", verbosity=0)  # the migrations behind it were undone


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False)])
def test_values_that_are_equal_in_python_alone_differ(tmp_path: Path, before: Any, after: Any) -> None:
    base, domains = tmp_path / "data", registered(["luna"])
    for number, value in enumerate((before, after)):
        moment = NOW + timedelta(seconds=number)
        profile = ObjectProfileFactory(user_id="ana", mode_id="m", preferences={"a": value}, updated_at=moment)
        file_store(LUNA, base).put([profile])
        report = migrate(domains, base, now=now)
        assert report.domains["luna"].total("new" if number == 0 else "replaced") == 1
    assert verify(domains, base).ok
    assert not sealing_equal(ObjectProfileFactory, before, after)


def sealing_equal(make: Any, before: Any, after: Any) -> bool:
    fields = {"user_id": "ana", "mode_id": "m", "constraints": {}, "updated_at": NOW}
    return bulk._is_equal(make(preferences={"a": before}, **fields), make(preferences={"a": after}, **fields))


ODD = ("orb:sealed:1:AAAA", "orb:plain:1:hello", "orb:plain:1:orb:plain:1:x")


@pytest.mark.parametrize("then", ["", "seal", "unseal"], ids=["as it was", "sealed since", "unsealed since"])
@pytest.mark.parametrize("way", ["by hand", "by retention"])
def test_odd_texts_that_were_removed_come_back(settings: Any, tmp_path: Path, way: str, then: str) -> None:
    settings.ORB_KEYS = OLD if then == "unseal" else ""
    forget_keys()
    records = [reflection(str(number), input=text, notes=text) for number, text in enumerate(ODD)]
    store = SqlStore(TE)
    store.put(records)
    if way == "by hand":
        keys = [record.key for record in records]
        run = remove(store, Reflection, keys, hand=Actor(actor="root", at=NOW)).run
    else:
        run = retain([store], Policy(max_per_session=0), now=now, force=True).run
    assert store.find(Reflection) == []
    settings.ORB_KEYS = OLD if then else ""
    if then:
        report = seal(registered(), tmp_path / "data", apply=True, unseal=then == "unseal")
        assert (report.ok, report.domains["database"].total("written")) == (True, 3)
    settings.ORB_KEYS = OLD if then == "seal" else ""
    forget_keys()
    assert undo(str(run), [store], now=now).ok
    assert {one.key: one for one in store.find(Reflection)} == {one.key: one for one in records}


def test_rows_whose_texts_cannot_be_sealed_are_left_and_told(settings: Any, tmp_path: Path) -> None:
    fill("default")
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE te_reflections SET input = CAST(x'ff' AS TEXT) WHERE user_id = 'bo'")
    settings.ORB_KEYS = OLD
    report = seal(registered(), tmp_path / "data", apply=True)
    assert report.domains["database"].total("left") == 1
    assert [one.owner for one in SqlStore(TE).find(Reflection)] == ["ana"] * 3


@pytest.mark.parametrize("keys", ["", OLD])
def test_texts_that_are_typed_into_a_form_are_never_taken_for_stored_ones(settings: Any, keys: str) -> None:
    settings.ORB_KEYS = keys
    forget_keys()
    SqlStore(TE).put([reflection(input=ODD[1])])
    row = ReflectionRow.objects.get()
    row.open_columns()
    assert row.input == ODD[1]
    row.output = ODD[0]
    row.save()
    assert [(one.input, one.output) for one in SqlStore(TE).find(Reflection)] == [(ODD[1], ODD[0])]


@pytest.mark.usefixtures("sealed")
def test_a_plain_text_that_was_put_into_a_row_is_not_shown() -> None:
    SqlStore(TE).put([reflection()])
    ReflectionRow.objects.update(input="forged")
    row = ReflectionRow.objects.get()
    assert row.reading().record is None
    row.mask_columns()
    assert row.input == "(sealed)"
    row = ReflectionRow.objects.get()
    row.open_columns()
    assert row.input.startswith("(the column is not sealed")
    assert row.reading().record is None


@pytest.mark.usefixtures("sealed")
def test_entries_of_the_ledger_cannot_be_exchanged() -> None:
    store, hand = SqlStore(TE), Actor(actor="root", at=NOW)
    store.put([reflection()])
    for text in ("one", "two"):
        edit(store, reflection(input=text), hand=hand)
    first, second = Change.objects.order_by("pk")
    Change.objects.filter(pk=second.pk).update(before=first.__dict__["before"])
    assert "belongs in another row" in Change.objects.get(pk=second.pk).before


@pytest.mark.usefixtures("sealed")
def test_migrations_verifications_and_rollbacks_work_over_sealed_rows(tmp_path: Path) -> None:
    base, domains = tmp_path / "data", registered(["te"])
    file_store(TE, base).put([reflection(str(number), created_at=NOW) for number in range(30)])
    first = migrate(domains, base, now=now)
    assert (first.ok, first.domains["te"].total("new")) == (True, 30)
    again = migrate(domains, base, now=now)
    assert (again.domains["te"].total("unchanged"), verify(domains, base).ok) == (30, True)
    file_store(TE, base).put([reflection("1", input=f"{CANARY} changed", created_at=NOW)])
    second = migrate(domains, base, now=now)
    assert second.domains["te"].total("replaced") == 1
    assert CANARY not in stored("default")
    assert second.run is not None
    assert rollback(second.run, domains, now=now).domains["te"].total("restored") == 1
    found = SqlStore(TE).fetch(Reflection, [("ana", "1")])
    assert found["ana", "1"].input == f"{CANARY} 1"


@pytest.mark.usefixtures("sealed")
def test_what_is_removed_is_kept_sealed_and_comes_back() -> None:
    before = fill("default")
    report = retain([SqlStore(TE)], Policy(max_per_session=1), now=now, force=True)
    assert report.domains["te"].total("removed") == 3
    assert remove(SqlStore(TE), Reflection, [("bo", "r")], hand=Actor(actor="root", at=NOW)).run is not None
    assert CANARY not in stored("default")
    assert all(CANARY in change.before for change in Change.objects.exclude(key__contains="plain"))
    for run in (report.run, Change.objects.latest("pk").run_id):
        assert undo(str(run), [SqlStore(TE)], now=now).ok
    assert saved("default") == before


@pytest.mark.usefixtures("sealed")
def test_a_row_that_cannot_be_opened_is_not_sanitized(alias: str) -> None:
    fill(alias)
    ReflectionRow.objects.using(alias).filter(user_id="bo").update(input=some()[0].input)
    before = cells(alias)
    report = sanitize(registered(["te"]), now=now, apply=True)
    assert report.domains["te"].total("rejected") == (1 if alias == "default" else 0)
    assert cells(alias) == before


@pytest.mark.usefixtures("sealed")
def test_a_user_who_is_erased_cannot_be_opened_from_anything_that_was_kept(alias: str) -> None:
    fill(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("CREATE TABLE kept AS SELECT * FROM te_reflections WHERE user_id = 'ana'")
    with transaction.atomic(alias):
        assert len(destroy("ana", alias, at=NOW)) == 1
    try:
        forget_keys()
        found: list[Any] = []
        assert [one.owner for one in SqlStore(TE, alias).find(Reflection, findings=found)] == ["bo"]
        assert "was destroyed" in found[0].message
        key = UserKey.objects.using(alias).exclude(destroyed_at=None).get()
        assert (key.user_id, key.wrapped, key.wrapped_by) == ("", None, "")
    finally:
        with connections[alias].cursor() as cursor:
            cursor.execute("DROP TABLE kept")
    SqlStore(LUNA, alias).put([ProfileFactory(user_id="ana", mode_id="new", preferences=("again",))])
    assert UserKey.objects.using(alias).filter(user_id="ana", destroyed_at=None).count() == 1


@pytest.mark.usefixtures("sealed")
def test_an_erasure_destroys_the_key_and_no_backup_brings_it_back(tmp_path: Path) -> None:
    fill("default")
    made = backup(registered(), None, tmp_path / "backups", now=lambda: utc_now() + timedelta(hours=1), files=False)
    kept = made.backup
    assert kept is not None
    assert not any(CANARY.encode() in path.read_bytes() for path in kept.rglob("*") if path.is_file())
    old = set(UserKey.objects.filter(user_id="ana").values_list("pk", flat=True))
    report = erase(
        [SqlStore(TE), SqlStore(LUNA)], "ana", base=tmp_path / "data", backups=tmp_path / "backups", now=utc_now
    )
    (place,) = [one for one in report.domains[ELSEWHERE].details["places"] if "backups/" in one["where"]]
    assert "data key was destroyed" in place["what"]
    assert report.domains[ELSEWHERE].facts["data_keys_destroyed"] == 1
    restore(registered(), kept, base=tmp_path / "data", now=now, apply=True, files=False)
    forget_keys()
    assert {one.owner for one in saved("default").values()} == {"bo"}
    assert {key.pk for key in UserKey.objects.exclude(destroyed_at=None)} == old
    assert not UserKey.objects.filter(user_id="ana").exists()


@pytest.mark.usefixtures("sealed")
def test_what_is_dumped_and_loaded_again_is_the_same(tmp_path: Path) -> None:
    before = fill("default")
    call_command("dumpdata", "te", "luna", "orbsite.userkey", output=str(tmp_path / "dump.json"))
    assert CANARY not in (tmp_path / "dump.json").read_text()
    for model in (ReflectionRow, ProfileRow, UserKey):
        model._base_manager.all().delete()
    call_command("loaddata", str(tmp_path / "dump.json"), verbosity=0)
    forget_keys()
    assert saved("default") == before


@pytest.mark.usefixtures("sealed")
def test_a_row_that_is_saved_by_its_model_is_sealed_and_read_anew(alias: str) -> None:
    SqlStore(TE, alias).put([reflection()])
    row = ReflectionRow.objects.using(alias).get()
    assert row.is_sealed
    row.input = f"{CANARY} edited"
    row.save()
    assert (row.input, CANARY in stored(alias)) == (f"{CANARY} edited", False)
    row.refresh_from_db()
    assert row.record().input == f"{CANARY} edited"
    row.mask_columns()
    assert (row.input, row.extra) == ("(sealed)", ["(sealed)"])


def test_keys_are_never_repeated_and_no_nonce_either() -> None:
    key = DataKey.new()
    assert len({key.seal("", "name")[:48] for _ in range(10_000)}) == 10_000
    assert len({DataKey.new().id for _ in range(10_000)}) == 10_000


@pytest.fixture(autouse=True)
def _keys_of_others() -> Iterator[None]:
    yield
    forget_keys()
