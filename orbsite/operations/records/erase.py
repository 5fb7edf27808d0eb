"""Erases a user in every store, then searches all places for remaining traces of the user."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from django.db import connections

from orbsite.conf import app_settings
from orbsite.models.api_tokens import Token
from orbsite.models.ledger import Run, RunState
from orbsite.operations.backup.prune import made_at
from orbsite.operations.backup.uploads import UPLOADS
from orbsite.operations.ledger.erased_rows import Erased, clear_away, erase_rows, rename
from orbsite.operations.ledger.erasure_list import enter, has_database, pseudonym
from orbsite.operations.ledger.runs import alone
from orbsite.operations.ledger.text_search import Needles, columns_that_name, files_that_name, spellings
from orbsite.operations.report import Report, Section
from orbsite.runtime.home import program
from orbsite.storage.base.store import Store
from orbsite.storage.clock import utc_now
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.errors import DocumentError, LockTimeout, OrbError, RunUnderWay, StoreUnavailable
from orbsite.storage.file.document import LOST_AND_FOUND, OWN
from orbsite.storage.file.erasure import erase_user, without_user
from orbsite.storage.file.tombstones import TOMBSTONES, Tombstones
from orbsite.storage.findings import error
from orbsite.storage.records.domain import Domain, registered
from orbsite.storage.records.record import Key, Record
from orbsite.storage.sql.filters import can_be_stored
from orbsite.stores import file_store, memory_stores

COLUMNS = ("erased",)
REMAINS, ELSEWHERE = "remains", "elsewhere"
_MOST_IDS = 500
_TOKENS = "orb_tokens.users"
_CLOSED = "; the user's texts that are sealed in it are not opened any more: their data key was destroyed"


def erase(
    stores: list[Store],
    user: str,
    *,
    base: Path,
    backups: Path | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Report:
    """Erase a user's data in these stores and in every other one that is present, and add the user to the erasure list.

    The domains are those of the stores. Present are SQL, the files under the data directory `base`, and the memory of
    this process. The user is on the list before anything is deleted; a second call deletes the rest after a failure.
    The section `elsewhere` lists what remains. Raises RunUnderWay where another run writes; nothing is erased then.
    """
    if not user:
        raise OrbError("no user was given; nothing was erased")
    using = next((store.database for store in stores if store.database is not None), "default")
    ledger = using if has_database(using) else None
    if ledger is None and any(store.database is not None for store in stores):
        raise StoreUnavailable(f"the database has no erasure list; nothing was erased. Run: {program()} migrate")
    with _alone(ledger):
        return _Erasing(stores, user, base, ledger).carry_out(now(), backups)


class _Erasing:
    """One erasure, under the lock that excludes runs."""

    def __init__(self, stores: list[Store], user: str, base: Path, ledger: str | None) -> None:
        self._user, self._base, self._ledger = user, base, ledger
        self._domains = list({store.domain.name: store.domain for store in stores}.values())
        self._stores = [*stores, *(one for one in memory_stores() if one not in stores)]
        self._uses_files = any(store.base is not None for store in stores)
        known = {store.base for store in stores if store.base is not None}
        if base.absolute() not in {one.absolute() for one in known}:
            self._stores += [file_store(domain, base) for domain in self._domains]
        self._report = Report(columns=COLUMNS, bad=("left",))
        self._rows = Erased()
        self._ids: set[str] = set()

    def carry_out(self, moment: datetime, backups: Path | None) -> Report:
        has_files = self._base.is_dir() or self._uses_files
        entered = enter(self._user, moment, base=self._base if has_files else None, using=self._ledger)
        if self._ledger is not None and can_be_stored(self._user):
            self._rows = erase_rows(self._user, self._domains, self._ledger)
            self._collect_ids(self._rows.keys)
        for domain in self._domains:
            self._erase_in(domain)
        self._erase_tombstones()
        if self._ledger is not None:
            rename(self._user, pseudonym(entered, self._user), self._ledger)
            clear_away(self._ledger)
        found = _Search(
            self._user, base=self._base, backups=backups, ledger=self._ledger, moment=moment, ids=self._ids,
            sealed_since=min(self._rows.data_keys, default=None),
        )  # fmt: skip
        self._report.section(ELSEWHERE, ()).details.update(found.result())
        if self._rows.data_keys:
            self._report.section(ELSEWHERE, ()).facts["data_keys_destroyed"] = len(self._rows.data_keys)
        return self._report

    def _erase_in(self, domain: Domain) -> None:
        section = self._report.section_of(domain)
        numbers: Counter[str] = Counter()
        if self._ledger is not None:
            numbers["sql"] = 0
        for kind in domain.kinds:
            number = self._rows.records.get(kind, 0)
            numbers.update({"sql": number} if number else {})
            section.count(kind.plural, "erased", number)
        for store in self._stores:
            if store.domain.name == domain.name and store.database is None:
                try:
                    numbers[store.name] += self._erase_in_store(store, section)
                except DocumentError as problem:
                    section.count(domain.kinds[0].plural, "left")
                    said = f"{problem}; it still has the user's data. Repair it, then erase again"
                    section.findings.append(error(str(domain.file), said))
        section.details["stores"] = dict(numbers)
        section.details[REMAINS] = {"history": 0, "rejects": 0, "files": sorted(_beside(self._base / domain.file))}

    def _erase_in_store(self, store: Any, section: Section) -> int:
        without = partial(without_user, store.domain, user=self._user, taken=self._rows.keys)
        erased, keys = erase_user(store, self._user, without)
        for kind, number in erased.items():
            section.count(kind.plural, "erased", number)
        self._collect_ids(keys)
        total: int = erased.total()
        return total

    def _erase_tombstones(self) -> None:
        tombstones = Tombstones(self._base, app_settings.packing())
        for name in tombstones.names():
            section = self._report.section(ELSEWHERE, ())
            try:
                section.facts["tombstones"] = section.facts.get("tombstones", 0) + tombstones.filter(
                    name, self._is_of_another_user
                )
            except DocumentError as problem:
                section.findings.append(error(f"{OWN}/{TOMBSTONES}/{name}", str(problem)))
                section.count("tombstones", "left")

    def _is_of_another_user(self, line: dict[str, Any]) -> bool:
        record = line.get("record")
        owner = line.get("owner") or (record.get("userId") if isinstance(record, dict) else None)
        if owner is not None:
            return bool(owner != self._user)
        return not any(spelling in str(line.get("original")) for spelling in spellings(self._user))

    def _collect_ids(self, keys: set[tuple[type[Record], Key]]) -> None:
        """Collect the ids of some erased records, to search for them afterwards."""
        for kind, key in keys:
            names = dict(zip(kind.key_fields, key, strict=True))
            if kind.group_field is not None and len(self._ids) < _MOST_IDS:
                self._ids |= {value for name, value in names.items() if name != "user_id"}


class _Search:
    """Searches for the places that still name a user, and tells until when."""

    def __init__(
        self,
        user: str,
        *,
        base: Path,
        backups: Path | None,
        ledger: str | None,
        moment: datetime,
        ids: set[str],
        sealed_since: datetime | None,
    ) -> None:
        """`sealed_since` is when the oldest of the user's data keys was made, if they were destroyed."""
        self._sealed_since = sealed_since
        self._user, self._base, self._backups, self._ledger, self._moment = user, base, backups, ledger, moment
        self._needles = Needles.of(user, ids)

    def result(self) -> dict[str, Any]:
        """Return the remaining traces: `places` lists them with where each is, what it is, and until when."""
        places = [*self._in_files(), *self._in_backups()]
        tokens = 0
        if self._ledger is None:
            places.append(_place("database", "it could not be reached, and was not searched", "it is erased there too"))
        else:
            valid = Token.objects.using(self._ledger).filter(revoked_at=None)
            tokens = sum(self._user in one.users for one in valid.only("users"))
            places += self._in_columns()
        tombstones = {Path(one["where"]).name for one in places if f"{OWN}/{TOMBSTONES}/" in one["where"]}
        return {
            "backups": sorted(_names(self._backups)) if self._backups else [],
            "tombstones": sorted(tombstones),
            "tokens": tokens,
            "places": places,
        }

    def _in_columns(self) -> Iterator[dict[str, str]]:
        until = {
            _TOKENS: "the tokens are changed or removed: they let in who has them, and hold nothing of the user",
            "orb_jobs.arguments": "the job that waits was done",
        }
        for column, number in columns_that_name(self._user, self._ledger or "default").items():
            yield _place(column, f"{number} rows name the user", until.get(column, "they are removed"))
        if self._ledger is not None:
            is_server = connections[self._ledger].vendor == "postgresql"
            what = "its write-ahead log" if is_server else "pages that an earlier version of this program left free"
            yield _place("database", f"{what}, and copies of the disk, are beyond our reach", "they are used again")

    def _in_files(self) -> Iterator[dict[str, str]]:
        others = {f"{domain.file.parent.name}/{name}" for domain in registered() for name in domain.others}
        for name in sorted(others):
            if (self._base / name).exists():
                yield _place(name, "names no user, so that no erasure can reach into it", "its own layer removes it")
        own = {str(domain.file) for domain in registered()}
        for path, said in files_that_name(self._base, self._needles):
            name = os.fsencode(path.relative_to(self._base)).decode(errors="backslashreplace")
            if name in own:
                yield _place(name, f"{said}: in texts of others, unless it could not be read", "they are changed")
            elif name not in others:
                yield _place(name, said, "cleanup_orb_files removes it")

    def _in_backups(self) -> Iterator[dict[str, str]]:
        if self._backups is None:
            return
        for path, said in files_that_name(self._backups, self._needles):
            name = os.fsencode(path.relative_to(self._backups)).decode(errors="backslashreplace")
            entry = path.relative_to(self._backups).parts[0]
            closed = _CLOSED if path.suffix != ".json" and self._is_sealed(entry) else ""
            yield _place(f"backups/{name}", f"{said}{closed}", self._until(entry))

    def _is_sealed(self, name: str) -> bool:
        """Tell whether a backup was made when the user's texts in the database were sealed."""
        made = made_at(name)
        return made is not None and self._sealed_since is not None and made >= self._sealed_since

    def _until(self, name: str) -> str:
        """Return until when an entry of ORB_BACKUP_DIR is kept."""
        made = made_at(name)
        days = app_settings.keep_exports_days() if name.startswith("export-") else app_settings.keep_backups_days()
        if name == UPLOADS:
            return "cleanup_orb_files removes it"
        if days is None:
            return "it is removed by hand: no limit is set"
        return spell((made or self._moment) + timedelta(days=days))


def _place(where: str, what: str, until: str) -> dict[str, str]:
    return {"where": where, "what": what, "until": until}


@contextlib.contextmanager
def _alone(ledger: str | None) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if ledger is not None:
            try:
                stack.enter_context(alone(ledger))
            except LockTimeout as problem:
                said = f"{_run_under_way(ledger)}; nothing was erased. Retry when it has ended"
                raise RunUnderWay(said) from problem
        yield


def _run_under_way(using: str) -> str:
    run = Run.objects.using(using).filter(state=RunState.RUNNING).order_by("-id").first()
    if run is None:
        return "another run writes to the database"
    return f"run {run.pk}, a {run.operation} since {spell(run.started_at)}, is under way"


def _beside(document: Path) -> Iterator[str]:
    """Yield the files beside a document that may hold earlier states: .prev, set-aside copies and the journal."""
    for name in _names(document.parent):
        if name != document.name and name.startswith(document.name):
            yield name
    yield from (f"{LOST_AND_FOUND}/{name}" for name in _names(document.parent / LOST_AND_FOUND))


def _names(directory: Path) -> list[str]:
    try:
        return [os.fsencode(path.name).decode(errors="backslashreplace") for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
