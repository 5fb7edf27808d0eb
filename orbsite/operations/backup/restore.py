"""Restores documents and the database from a backup. The data that it replaces is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from orbsite.conf import app_settings
from orbsite.models.user_keys import destroyed, has_table, keep_destroyed
from orbsite.operations.backup import database as dump
from orbsite.operations.backup.create import DATABASE, take
from orbsite.operations.backup.manifest import SUMS, Manifest, SavedDatabase, checked, is_signed
from orbsite.operations.ledger.erased_rows import erase_since
from orbsite.operations.ledger.erasure_list import erasure_filter, known
from orbsite.operations.ledger.runs import alone
from orbsite.operations.report import Report
from orbsite.storage.errors import DocumentCorrupt, OrbError
from orbsite.storage.file import repair
from orbsite.storage.file.content import Content, entries
from orbsite.storage.file.erasure import ErasureFile
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.findings import warning
from orbsite.storage.records.domain import Domain, registered
from orbsite.storage.sealing.envelope import IN_BACKUP
from orbsite.stores import file_store, open_document

SIGNATURE = "signature"
"""The section of reports about the signature."""
_UNSIGNED = "the backup has no signature: anyone with write access to it could have changed it"
COLUMNS = ("equal", "differ", "missing", "left", "restored")


def restore(
    domains: list[Domain],
    directory: Path,
    *,
    base: Path,
    now: Callable[[], datetime],
    apply: bool,
    files: bool = True,
    database: bool = True,
    safety: Path | None = None,
    using: str = "default",
) -> Report:
    """Restore a backup, or, without `apply`, report what would be written.

    With `safety`, the current data is first backed up under that directory. The database is replaced as a whole or not
    at all. Then each document that differs is replaced, and its previous version stays beside it as `.prev`. A document
    that is not in the backup is left unchanged. Raises OrbError, before anything is written, where the backup is
    damaged or does not fit.
    """
    with checked(directory) as (held, manifest):
        if apply and database and manifest.database:
            dump.make_place(manifest.database, using)
        plan = _Plan(domains, base, using, held, manifest, with_files=files, with_database=database)
        has_signature = _is_signed(held)
        report = plan.difference_report(apply=apply)
        if not has_signature:
            report.section(SIGNATURE, ()).findings.append(warning(SUMS, _UNSIGNED))
        if not apply:
            return report
        with alone(using) if plan.database else contextlib.nullcontext():
            if safety is not None:
                report.backup = plan.back_up(safety, now)
            with _naming(report.backup):
                plan.carry_out(report)
    return report


def _is_signed(held: Directory) -> bool:
    if is_signed(held):
        return True
    if app_settings.requires_signature():
        raise DocumentCorrupt(
            f"the backup {held.path} has no signature, and ORB_BACKUP_REQUIRE_SIGNATURE is set; nothing was written. "
            "Use a backup that is signed"
        )
    return False


class _Plan:
    """The verified contents of the backup, and the current data."""

    def __init__(
        self,
        domains: list[Domain],
        base: Path,
        using: str,
        held: Directory,
        manifest: Manifest,
        *,
        with_files: bool,
        with_database: bool,
    ) -> None:
        self._base, self._using, self._held = base, using, held
        self._with_files, self._with_database = with_files, with_database
        self._domains = domains if with_files else []
        self._saved = {domain.name: _documents(domain, held, manifest) for domain in self._domains}
        self._present = {domain.name: _Present(domain, base) for domain in self._domains}
        self.database: SavedDatabase | None = manifest.database if with_database else None
        if self.database:
            dump.refuse_other(self.database, held, using)
        if not self.database and not any(self._saved.values()):
            raise OrbError(
                f"{held.path} holds nothing of the selected data; nothing was written. "
                "Check --only, --no-files and --no-database"
            )

    def difference_report(self, *, apply: bool) -> Report:
        """Return a report of the differences and of how they are handled."""
        report = Report(columns=COLUMNS)
        for domain in self._domains:
            section = report.section(domain.name, ["files"])
            state = self._state(domain)
            section.count("files", state)
            message = self._message(domain, state, apply=apply)
            if message:
                section.findings.append(warning(str(domain.file), message))
        if self._with_database:
            self._report_database(report, apply=apply)
        return report

    def back_up(self, to: Path, now: Callable[[], datetime]) -> Path:
        """Back up the current data. A document that cannot be read is kept beside its place instead."""
        readable = [domain for domain in self._domains if not self._present[domain.name].is_unreadable]
        documents = {domain.name: file_store(domain, self._base).snapshot() for domain in readable}
        return take(
            readable,
            documents if self._with_files else None,
            to,
            now=now,
            label="before restore",
            database=self.database is not None,
            using=self._using,
        )

    def carry_out(self, report: Report) -> None:
        """Write the backup. Users who were erased since it was made stay erased."""
        erasures = known(self._base, using=self._using)
        if self.database:
            if erasures:
                ErasureFile(self._base).add(erasures.erasures)  # a restore never changes this file
            keys = destroyed(self._using) if has_table(self._using) else {}
            dump.load(self._held, self._using)
            keep_destroyed(keys, self._using)
            erase_since(erasures, registered(), self._using)
            report.domains[DATABASE].facts["rows restored"] = sum(self.database.rows.values())
        for domain in self._domains:
            data = self._saved[domain.name]
            if data is not None and self._state(domain) in ("differ", "missing"):
                self._put(domain, data)
                report.domains[domain.name].count("files", "restored")

    def _put(self, domain: Domain, data: bytes) -> None:
        without_erased = erasure_filter(domain, self._base)
        try:
            file_store(domain, self._base).replace(data, without_erased)
        except DocumentCorrupt:  # the current document is corrupt; the backup's was verified
            repair.start_over(open_document(domain, self._base), without_erased(data))

    def _state(self, domain: Domain) -> str:
        saved, present = self._saved[domain.name], self._present[domain.name]
        if saved is None:
            return "left" if present.exists else "equal"
        if present.is_unreadable:
            return "differ"
        return "missing" if present.data is None else "equal" if present.data == saved else "differ"

    def _message(self, domain: Domain, state: str, *, apply: bool) -> str | None:
        done = "it was restored" if apply else "--apply restores it"
        aside = "; the unreadable file is kept as a copy" if self._present[domain.name].is_unreadable else ""
        return {
            "differ": f"differs from the backup; {done}{aside}",
            "missing": f"is missing, and the backup has it; {done}",
            "left": "exists, but the backup has no such file; it was left unchanged",
        }.get(state)

    def _report_database(self, report: Report, *, apply: bool) -> None:
        section = report.section(DATABASE, ())
        if self.database is None:
            section.findings.append(warning(DATABASE, "the backup has no database; the database was left unchanged"))
            return
        now, then = dump.rows(self._using), self.database.rows
        when = "before" if apply else "now"
        section.facts = {f"rows {when}": sum(now.values()), "rows in backup": sum(then.values())}
        for table in sorted(now.keys() | then.keys()):
            if now.get(table) != then.get(table):
                message = f"{_rows(now.get(table))} {when}, {_rows(then.get(table))} in the backup"
                section.findings.append(warning(table, message))
        if not apply:
            section.findings.append(warning(DATABASE, "--apply replaces everything in the database by the backup"))


class _Present:
    """The current state of a document."""

    def __init__(self, domain: Domain, base: Path) -> None:
        self.data: bytes | None = None
        self.is_unreadable = False
        try:
            self.data = file_store(domain, base).snapshot()
            if self.data is not None:
                entries(domain, self.data)
        except DocumentCorrupt:
            self.is_unreadable = True

    @property
    def exists(self) -> bool:
        """Whether the document exists, readable or not."""
        return self.is_unreadable or self.data is not None


def _documents(domain: Domain, held: Directory, manifest: Manifest) -> bytes | None:
    """Return the document of a domain in the backup; None where there is none."""
    for saved in manifest.documents:
        if saved.domain != domain.name or saved.file is None:
            continue
        if saved.document != str(domain.file):
            raise OrbError(
                f"{held.path} has {saved.domain} as {saved.document!a}, but this code stores it as {domain.file}; "
                "restore it with the version of the code that created the backup"
            )
        packing = app_settings.packing(allows_plain=True)  # a backup from before sealing is plain
        data = packing.envelope(f"{IN_BACKUP}/{domain.name}").open(held.read(saved.file.name) or b"")
        try:
            Content(domain, data)
        except DocumentCorrupt as problem:
            raise DocumentCorrupt(
                f"{held.path / saved.file.name} was damaged before it was backed up: {problem}; "
                "nothing was written. Use another backup, or choose other domains with --only"
            ) from problem
        return data
    return None


def _rows(number: int | None) -> str:
    return "no table" if number is None else f"{number} rows"


@contextlib.contextmanager
def _naming(backup: Path | None) -> Iterator[None]:
    """Add to an error where the data from before the restore is kept."""
    try:
        yield
    except OrbError as problem:
        if backup is None:
            raise
        raise OrbError(f"{problem}; the data from before the restore is in {backup}") from problem
