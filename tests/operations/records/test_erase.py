"""A user who is erased is gone from every place that can be reached, and nothing that is old brings the user back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import connections, models

from luna.domain import DOMAIN as LUNA
from luna.models import ActiveModeRow, ProfileRow
from luna.records import ActiveMode, Profile
from orbsite import stores
from orbsite.models import audit_log
from orbsite.models.erasures import Erasure as ErasureRow
from orbsite.models.jobs import Job, JobState
from orbsite.models.ledger import Change, Reject, RunState
from orbsite.operations.backup.create import backup
from orbsite.operations.backup.restore import restore
from orbsite.operations.files.compact import compact
from orbsite.operations.jobs.jobs import start
from orbsite.operations.ledger.erased_rows import rename
from orbsite.operations.ledger.erasure_list import known
from orbsite.operations.ledger.manual_changes import Actor
from orbsite.operations.ledger.runs import alone
from orbsite.operations.ledger.text_search import searched
from orbsite.operations.ledger.tombstones import undo
from orbsite.operations.migration.file_source import DocumentsSnapshot
from orbsite.operations.migration.migrate import import_database, migrate
from orbsite.operations.migration.rollback import rollback
from orbsite.operations.migration.run import Transfer
from orbsite.operations.migration.verify import verify
from orbsite.operations.records.delete import remove
from orbsite.operations.records.erase import ELSEWHERE, erase
from orbsite.operations.report import Report
from orbsite.operations.retention.apply import retain
from orbsite.operations.search_index import index
from orbsite.storage.errors import DocumentCorrupt, OrbError, RunUnderWay
from orbsite.storage.file.document import Document
from orbsite.storage.file.erasure import ErasureFile
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.tombstones import Tombstones
from orbsite.storage.records.domain import registered
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.store import SqlStore
from orbsite.stores import file_store, open_sql_store
from te.domain import DOMAIN as TE
from te.models import ReflectionRow
from te.records import Reflection
from tests.support.factories import ActiveModeFactory, ProfileFactory, ReflectionFactory

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

CANARY = "canary-of-ana"
OLD = datetime(2024, 1, 1, tzinfo=UTC)
ERASED_AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
LATER = ERASED_AT + timedelta(hours=1)


def now() -> datetime:
    return ERASED_AT


@pytest.fixture(autouse=True)
def places(settings: Any, tmp_path: Path) -> Iterator[None]:
    settings.ORB_DATA_DIR = tmp_path / "data"
    settings.ORB_BACKUP_DIR = tmp_path / "backups"
    stores._of_this_process.clear()
    yield
    stores._of_this_process.clear()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Both documents, with records of ana's and of bo's, some in one session; nothing in SQL."""
    directory = tmp_path / "data"
    fill(directory)
    return directory


def fill(base: Path, *, above: int | None = None, at: datetime = OLD) -> None:
    te = FileStore(TE, Document(base, TE.file), journal_above=above)
    luna = FileStore(LUNA, Document(base, LUNA.file), journal_above=above)
    for user in ("ana", "bo"):
        text = CANARY if user == "ana" else "text of bo"
        for number in range(3):
            name, session = f"{user}-reflection-{number}", f"s-{number % 2}"
            te.put([ReflectionFactory(id=name, user_id=user, session_id=session, input=text, created_at=at)])
        luna.put(
            [
                ProfileFactory(user_id=user, mode_id="mars", preferences=(text,), updated_at=at),
                ActiveModeFactory(user_id=user, mode_id="mars"),
            ]
        )


def erased(base: Path, user: str = "ana", *, at: datetime = ERASED_AT, **options: Any) -> Report:
    sources = [SqlStore(domain) for domain in (LUNA, TE)]
    return erase(sources, user, base=base, now=lambda: at, **options)


def in_sql(user: str) -> int:
    return sum(model.objects.filter(user_id=user).count() for model in (ProfileRow, ActiveModeRow, ReflectionRow))


def in_files(base: Path, user: str) -> int:
    return sum(
        len(file_store(domain, base).find(kind, {"user_id": user})) for domain in (LUNA, TE) for kind in domain.kinds
    )


def bytes_of(*tops: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for top in tops for path in top.rglob("*") if path.is_file()}


def names_of(found: dict[str, bytes], *needles: str) -> list[str]:
    return [path for path, data in found.items() if any(needle.encode() in data for needle in needles)]


def moved(base: Path, **options: Any) -> Report:
    return migrate(registered(["luna", "te"]), base, now=lambda: LATER, **options)


@pytest.mark.parametrize("above", [None, 0], ids=["whole", "journal"])
@pytest.mark.parametrize("is_migrated", [True, False], ids=["SQL with files beside it", "files alone"])
def test_nothing_is_left_in_sql_nor_in_the_files_and_others_keep_all(
    tmp_path: Path, above: int | None, is_migrated: bool
) -> None:
    base = tmp_path / "data"
    fill(base, above=above)
    FileStore(TE, Document(base, TE.file), journal_above=above).delete(Reflection, [("ana", "ana-reflection-0")])
    if is_migrated:
        moved(base)
    report = erased(base)
    assert report.ok
    assert (in_sql("ana"), in_files(base, "ana")) == (0, 0)
    assert (in_sql("bo"), in_files(base, "bo")) == (5 * is_migrated, 5)
    assert names_of(bytes_of(base), CANARY, '"ana"', "ana-reflection") == []
    assert not list(base.rglob("*.journal"))
    assert report.domains["te"].details["stores"] == {"sql": 2 * is_migrated, "file": 2}


def test_the_next_migration_brings_nobody_back(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "copy")
    moved(base)
    erased(base)
    report = moved(tmp_path / "copy")
    assert (in_sql("ana"), in_sql("bo")) == (0, 5)
    assert report.domains["te"].counts["reflections"]["rejected"] == 3
    assert (report.exit_code, Reject.objects.count()) == (1, 0), "of what is left out nothing is kept"
    for section in report.domains.values():
        counts = [section.total(what) for what in ("new", "unchanged", "replaced", "kept", "rejected")]
        assert sum(counts) == section.total("read")
    told = json.dumps(report.as_json())
    assert "its user was erased on 2026-11-28T12:00:00.000Z" in told
    assert "ana" not in told.replace(str(tmp_path), "")
    assert moved(tmp_path / "copy", dry_run=True).domains["te"].counts["reflections"]["new"] == 0


def test_new_data_of_the_same_id_passes_everywhere(base: Path, tmp_path: Path) -> None:
    erased(base)
    fill(tmp_path / "new", at=LATER)
    moved(tmp_path / "new")
    assert in_sql("ana") == 5, "the mode that is active has no time, and newer records beside it"
    made = backup(registered(["luna", "te"]), tmp_path / "new", tmp_path / "kept", now=lambda: LATER).backup
    assert made is not None
    erased(base, "bo")
    restore(registered(["luna", "te"]), made, base=base, now=lambda: LATER, apply=True)
    assert (in_sql("ana"), in_files(base, "ana")) == (5, 5)
    run = retain([SqlStore(TE)], Policy(max_per_session=0), now=lambda: LATER, force=True).run
    undo(str(run), [SqlStore(TE)], now=lambda: LATER)
    assert in_sql("ana") == 5


def test_a_source_with_old_and_new_data_gives_the_new_alone(base: Path) -> None:
    erased(base)
    file_store(TE, base).put(
        [
            ReflectionFactory(id="old", user_id="ana", created_at=OLD),
            ReflectionFactory(id="new", user_id="ana", created_at=LATER),
        ]
    )
    moved(base)
    assert list(ReflectionRow.objects.filter(user_id="ana").values_list("id", flat=True)) == ["new"]


def test_what_a_migration_has_read_before_an_erasure_is_not_written_after_it(base: Path, tmp_path: Path) -> None:
    domains = registered(["luna", "te"])
    transfer = Transfer(DocumentsSnapshot(domains, base), domains, "migrate", now=now)
    erased(base)
    transfer.run(tmp_path / "kept")
    assert (in_sql("ana"), in_sql("bo")) == (0, 5)
    kept = {name: data for name, data in bytes_of(tmp_path / "kept").items() if name.endswith(".json")}
    assert names_of(kept, CANARY) == [], "nor is it in the backup that comes first"


def test_while_a_run_is_under_way_nothing_is_erased(base: Path) -> None:
    number = moved(base).run
    from orbsite.models.ledger import Run

    Run.objects.filter(pk=number).update(state=RunState.RUNNING)
    with alone(), pytest.raises(RunUnderWay, match=f"run {number}, a migrate since .* is under way; nothing was"):
        erased(base)
    assert (in_sql("ana"), in_files(base, "ana")) == (5, 5)
    assert not known(base)
    assert erased(base).ok
    assert in_sql("ana") == 0


def test_an_interrupted_migration_is_gone_on_with_after_an_erasure(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "copy")
    run = Transfer(DocumentsSnapshot([TE], tmp_path / "copy"), [TE], "migrate", now=now)
    from orbsite.operations.migration.loader import Loader

    with pytest.MonkeyPatch.context() as patch:

        def fail(*_: Any) -> None:
            raise OrbError("a fault")

        patch.setattr(Loader, "_transaction", fail)
        with pytest.raises(OrbError):
            run.run()
    erased(base)
    report = migrate([TE], tmp_path / "copy", now=lambda: LATER)
    assert (in_sql("ana"), in_sql("bo")) == (0, 3)
    assert report.domains["te"].counts["reflections"]["unverified"] == 0


def test_an_import_brings_nobody_back(base: Path, tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    path = tmp_path / "earlier.db"
    with closing(sqlite3.connect(path)) as earlier:
        earlier.executescript(
            "CREATE TABLE luna_profiles (user_id, mode_id, preferences, constraints, updated_at);"
            "CREATE TABLE luna_active_modes (user_id, mode_id, updated_at);"
            "CREATE TABLE te_reflections (id, user_id, session_id, input, output, tags, notes, created_at);"
        )
        for user in ("ana", "bo"):
            values = [user, "mars", "[]", "[]", "2024-01-01T00:00:00.000Z"]
            earlier.execute("INSERT INTO luna_profiles VALUES (?, ?, ?, ?, ?)", values)
            earlier.execute("INSERT INTO luna_active_modes VALUES (?, ?, ?)", [user, "mars", values[-1]])
            values = [f"of {user}", user, "s", CANARY, "o", "[]", None, values[-1]]
            earlier.execute("INSERT INTO te_reflections VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
            earlier.execute(
                "INSERT INTO te_reflections VALUES (?, ?, ?, ?, ?, ?, ?, ?)", ["x" + user, user, *values[2:-1], "no"]
            )
        earlier.commit()
    erased(base)
    import_database(registered(["luna", "te"]), str(path), now=lambda: LATER)
    assert (in_sql("ana"), in_sql("bo")) == (0, 3)
    assert list(Reject.objects.values_list("owner", flat=True)) == ["bo"]


def test_undo_of_retention_brings_nobody_back_from_tombstone_files(base: Path) -> None:
    name = retain([file_store(TE, base)], Policy(max_per_session=0), now=now, force=True).tombstones[0]
    saved = (base / ".orb/tombstones" / f"{name}.jsonl").read_bytes()
    erased(base)
    assert names_of(bytes_of(base), CANARY, '"ana"') == []
    (base / ".orb/tombstones" / f"{name}.jsonl").write_bytes(saved)  # as from a copy
    report = undo(name, [file_store(TE, base)], now=lambda: LATER)
    assert report.domains["te"].counts["reflections"] == {"restored": 3, "kept": 3}
    assert (in_files(base, "ana"), in_files(base, "bo")) == (0, 5)


def test_a_tombstone_file_that_is_the_users_alone_is_removed(base: Path) -> None:
    file_store(TE, base).delete_where(Reflection, {"user_id": "bo"})
    retain([file_store(TE, base)], Policy(max_per_session=0), now=now, force=True)
    erased(base)
    assert Tombstones(base).names() == []


def test_undo_and_rollback_in_sql_bring_nobody_back(base: Path) -> None:
    first = moved(base).run
    run = retain([SqlStore(TE)], Policy(max_per_session=0), now=now, force=True).run
    (gone,) = list(Change.objects.filter(run_id=run, key='["ana", "ana-reflection-0"]')) or list(
        Change.objects.filter(run_id=run, key='["ana","ana-reflection-0"]')
    )
    erased(base)
    assert not Change.objects.filter(before__contains=CANARY).exists()
    gone.save(force_insert=True)  # as by whoever noted it late
    undo(str(run), [SqlStore(TE)], now=lambda: LATER)
    assert (in_sql("ana"), ReflectionRow.objects.filter(user_id="bo").count()) == (0, 3)
    assert first is not None
    rollback(first, registered(["luna", "te"]), now=lambda: LATER, force=True)
    assert in_sql("ana") == 0


def test_what_a_replaced_row_held_is_not_put_back_by_a_rollback(base: Path) -> None:
    moved(base)
    file_store(LUNA, base).put(
        [ProfileFactory(user_id="ana", mode_id="mars", updated_at=LATER), ActiveModeFactory(user_id="ana")]
    )
    second = moved(base).run
    assert second is not None
    changes = list(Change.objects.filter(run_id=second))
    erased(base)
    file_store(LUNA, base).put([ProfileFactory(user_id="ana", mode_id="mars", updated_at=LATER)])
    third = moved(base).run
    assert third is not None
    from orbsite.models.ledger import Run

    for change in changes:
        if change.kind == "profiles":
            change.run_id = third
            change.save(force_insert=True)
    assert in_sql("ana") == 1
    rollback(third, registered(["luna", "te"]), now=lambda: LATER)
    assert in_sql("ana") == 0
    assert Run.objects.filter(operation="rollback", state=RunState.COMPLETE).exists()


def test_retention_in_memory_is_not_undone_either(base: Path) -> None:
    from orbsite.storage.memory.store import MemoryStore

    store = MemoryStore(TE)
    store.put([ReflectionFactory(user_id="ana"), ReflectionFactory(user_id="bo")])
    retain([store], Policy(max_per_session=0), now=now, force=True)
    kept = {name: list(tombstones) for name, tombstones in store.recorded_rows.items()}
    erase([store], "ana", base=base, now=now)
    store.recorded_rows.update(kept)
    undo(next(iter(kept)), [store], now=lambda: LATER)
    assert [one.user_id for one in store.walk(Reflection)] == ["bo"]


@pytest.mark.slow
@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_a_restore_brings_nobody_back_and_keeps_the_list(
    request: pytest.FixtureRequest, base: Path, tmp_path: Path, alias: str
) -> None:
    using = "default" if alias == "default" else request.getfixturevalue("postgresql_alias")
    domains = registered(["luna", "te"])
    for user in ("ana", "bo"):
        SqlStore(TE, using).put([ReflectionFactory(user_id=user, input=CANARY, created_at=OLD)])
        SqlStore(LUNA, using).put([ProfileFactory(user_id=user, updated_at=OLD), ActiveModeFactory(user_id=user)])
    path = backup(domains, base, tmp_path / "kept", now=now, using=using).backup
    assert path is not None
    erase([SqlStore(domain, using) for domain in domains], "ana", base=base, now=now)
    entries = ErasureRow.objects.using(using).count()
    restore(domains, path, base=base, now=lambda: LATER, apply=True, using=using)
    rows = [model.objects.using(using) for model in (ProfileRow, ActiveModeRow, ReflectionRow)]
    assert [one.filter(user_id="ana").count() for one in rows] == [0, 0, 0]
    assert [one.filter(user_id="bo").count() for one in rows] == [1, 1, 1]
    assert (in_files(base, "ana"), in_files(base, "bo")) == (0, 5)
    assert ErasureRow.objects.using(using).count() == entries == 1
    assert names_of(bytes_of(base), '"ana"') == ["te/reflections.json"] * 0


def test_items_that_do_not_decode_and_unknown_keys_go_too(base: Path) -> None:
    luna, te = base / LUNA.file, base / TE.file
    tree = json.loads(luna.read_bytes())
    tree["ana"]["secret"] = CANARY
    tree["ana"]["profiles"]["broken"] = {"preferences": CANARY}
    tree["bo"]["theirs"] = "stays"
    luna.write_text(json.dumps(tree))
    tree = json.loads(te.read_bytes())
    tree["sessions"]["of ana"] = [{"id": 7, "input": CANARY}]
    tree["sessions"]["empty"] = []
    tree["userSessions"]["ana"] += ["of ana", "empty"]
    te.write_text(json.dumps(tree))
    report = erased(base)
    assert report.ok
    assert names_of(bytes_of(base), CANARY, '"ana"') == []
    assert json.loads(luna.read_bytes())["bo"]["theirs"] == "stays"
    assert "of ana" not in json.loads(te.read_bytes())["sessions"]
    assert in_files(base, "bo") == 5


def test_a_document_that_cannot_be_read_is_told_of_and_the_rest_is_erased(base: Path) -> None:
    (base / TE.file).write_text("{")
    moved_before = file_store(LUNA, base)
    report = erased(base)
    assert (report.ok, report.exit_code) == (False, 1)
    assert "erase again" in report.domains["te"].findings[0].message
    assert not moved_before.find(Profile, {"user_id": "ana"})
    assert (base / TE.file).read_text() == "{"
    assert known(base).moment("ana") == ERASED_AT


def test_the_list_holds_hashes_and_a_damaged_one_stops_everything(base: Path) -> None:
    erased(base)
    path = ErasureFile(base).path
    assert (path.stat().st_mode & 0o777, b"ana" in path.read_bytes()) == (0o600, False)
    (row,) = ErasureRow.objects.all()
    assert {(one.salt, one.digest) for one in ErasureFile(base).read()} == {(row.salt, row.digest)}
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DocumentCorrupt, match="erasure list"):
        moved(base)
    path.unlink()
    assert known(base).moment("ana") == ERASED_AT, "the database has it too"


def test_an_erasure_that_was_stopped_half_way_keeps_the_user_out_and_is_completed(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(base, tmp_path / "copy")
    moved(base)

    def fail(*_: Any, **__: Any) -> None:
        raise OrbError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr("orbsite.operations.records.erase.erase_rows", fail)
        with pytest.raises(OrbError, match="a fault"):
            erased(base)
    assert in_sql("ana") == 5
    moved(tmp_path / "copy")
    assert not ReflectionRow.objects.filter(user_id="ana").exclude(run_id__isnull=False).exists()
    erased(base, at=LATER)
    moved(tmp_path / "copy")
    assert (in_sql("ana"), in_files(base, "ana")) == (0, 0)


@pytest.mark.parametrize("alias", ["default", "postgresql"])
def test_no_word_stays_in_the_index(request: pytest.FixtureRequest, base: Path, alias: str) -> None:
    using = "default" if alias == "default" else request.getfixturevalue("postgresql_alias")
    store = SqlStore(TE, using)
    store.put([ReflectionFactory(user_id=user, input=f"xyzzy{user}") for user in ("ana", "bo")])
    index([TE], now=now, using=using)
    erase([store], "ana", base=base, now=now)
    with connections[using].cursor() as cursor:
        if using == "default":
            cursor.execute("SELECT block FROM orb_words_index_data")
            data = b"".join(bytes(row[0]) for row in cursor.fetchall())
            assert (b"xyzzyana" in data, b"bo" in data) == (False, True)
        cursor.execute("SELECT count(*) FROM orb_words WHERE user_id = 'ana'")
        assert cursor.fetchone() == (0,)


def test_verification_says_that_a_user_was_erased_and_misses_nobody(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "copy")
    erased(base)
    moved(tmp_path / "copy")
    counts = verify([TE], tmp_path / "copy").domains["te"].counts["reflections"]
    assert (counts["equal"], counts["missing"], counts["rejected"]) == (3, 0, 3)


def test_jobs_and_the_audit_trail_name_a_pseudonym(base: Path) -> None:
    moved(base)
    done = Job.objects.create(
        operation="export",
        arguments={"user": "ana"},
        state="done",
        created_at=OLD,
        result={"findings": [{"path": "$.ana.profiles.mars", "message": 'profiles ["ana","mars"] of banana'}]},
    )
    audit_log.note(OLD, "clerk", "export", subject="ana", arguments={"user": "ana"})
    job = start("erase", {"user": "ana"}, now=now, actor="clerk")  # which is done at once here
    job.refresh_from_db()
    assert (job.state, in_sql("ana")) == (JobState.DONE, 0)
    pseudonym = re.compile(r"erased:[0-9a-f]{16}")
    assert pseudonym.fullmatch(job.arguments["user"])
    done.refresh_from_db()
    assert pseudonym.fullmatch(done.arguments["user"])
    (finding,) = done.result["findings"]
    assert finding["path"] == "$.(erased).profiles.mars"
    assert finding["message"].endswith("of banana")
    for event in audit_log.Event.objects.all():
        assert "ana" not in json.dumps([event.subject, event.facts])
    assert job.result["domains"][ELSEWHERE]["tokens"] == 0


@pytest.mark.parametrize("user", ["a", "ann", "Größe", 'with "quotes"', "a.b", "用户", "%", "ana\\"])
def test_any_id_is_renamed_without_touching_other_words(user: str) -> None:
    told = {"user": user, "list": [user, "a text of a man"], user: {"path": "$.other.a"}}
    job = Job.objects.create(operation="export", arguments=told, state="done", created_at=OLD)
    rename(user, "erased:0", "default")
    job.refresh_from_db()
    assert job.arguments == {
        "user": "erased:0",
        "list": ["erased:0", "a text of a man"],
        "erased:0": {"path": "$.other.a"},
    }


def test_every_column_with_text_is_searched() -> None:
    for model in apps.get_models(include_auto_created=True):
        texts = {
            field.name
            for field in model._meta.concrete_fields
            if isinstance(field, models.CharField | models.TextField | models.JSONField | models.BinaryField)
        }
        assert set(searched(model)) in ({"user_id"}, texts), model
        assert ("user_id" not in texts) or searched(model) == ["user_id"]


def test_the_receipt_names_what_is_found_and_until_when_it_is_kept(base: Path, tmp_path: Path, settings: Any) -> None:
    settings.ORB_KEEP_BACKUPS_DAYS = "30"
    backups = tmp_path / "backups"
    moved(base)
    backup([TE], base, backups, now=now)
    file_store(TE, base).delete_where(Reflection, {"user_id": "ana"})
    backup([LUNA], base, backups, now=now, database=False)
    (base / "te/reflections.json.conflict-1764331200000000000").write_text(json.dumps({"ana": CANARY}))
    (base / "te/patterns.json").write_text("{}")
    remains = erased(base, backups=backups).domains[ELSEWHERE].details
    found = {one["where"]: one for one in remains["places"]}
    day = "2026-12-28T12:00:00.000Z"
    assert found["backups/20261128T120000Z/te.json"]["until"] == day
    assert found["backups/20261128T120000Z/database.sqlite3"]["what"] == "holds rows of the user"
    assert "backups/20261128T120000Z-2/luna.json" in found
    assert found["te/reflections.json.conflict-1764331200000000000"]["until"] == "cleanup_orb_files removes it"
    assert "no erasure can reach" in found["te/patterns.json"]["what"]
    held = names_of(bytes_of(base, backups), CANARY)
    named = " ".join(found)
    assert {Path(path).name for path in held} <= {name.rpartition("/")[2] for name in found}, (held, named)


def test_a_removal_by_hand_is_not_taken_back(base: Path) -> None:
    moved(base)
    hand = Actor(actor="clerk", at=ERASED_AT)
    remove(SqlStore(TE), Reflection, [("ana", "ana-reflection-0")], hand=hand)
    erased(base)
    assert not Change.objects.filter(key__contains="ana-reflection-0").exists()


def test_compaction_and_erasure_leave_no_tombstones_of_what_did_not_decode(base: Path) -> None:
    te = base / TE.file
    tree = json.loads(te.read_bytes())
    tree["sessions"]["of ana"] = [{"id": 7, "input": CANARY}]
    tree["userSessions"]["ana"] += ["of ana"]
    te.write_text(json.dumps(tree))
    compact([TE], base, now=now, force=True)
    assert names_of(bytes_of(base / ".orb"), CANARY)
    erased(base)
    assert names_of(bytes_of(base / ".orb"), CANARY) == []


def test_without_a_database_files_are_erased_and_the_receipt_says_so(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbsite.operations.records.erase.has_database", lambda _: False)
    monkeypatch.setattr("orbsite.operations.ledger.erasure_list.has_database", lambda *_: False)
    report = erase([file_store(domain, base) for domain in (LUNA, TE)], "ana", base=base, now=now)
    assert report.ok
    assert in_files(base, "ana") == 0
    assert "was not searched" in json.dumps(report.as_json())
    assert known(base).moment("ana") == ERASED_AT


def test_no_data_directory_is_made_for_the_list_where_sql_alone_is_in_use(tmp_path: Path) -> None:
    SqlStore(TE).put([ReflectionFactory(user_id="ana")])
    assert erased(tmp_path / "none").ok
    assert not (tmp_path / "none").exists()
    assert known(tmp_path / "none").moment("ana") == ERASED_AT


def test_an_active_mode_of_sql_is_compared_by_its_time(base: Path) -> None:
    erased(base)
    open_sql_store(LUNA).put([ActiveModeFactory(user_id="ana", updated_at=LATER)])
    assert [one.user_id for one in open_sql_store(LUNA).walk(ActiveMode)] == ["ana"]
