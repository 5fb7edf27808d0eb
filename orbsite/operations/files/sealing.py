"""Seals the files, opens them again, changes the keys, and tells which key seals what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from orbsite.conf import app_settings
from orbsite.conf.app_settings import Persistence
from orbsite.models.user_keys import has_table
from orbsite.operations.progress import Progress, silent
from orbsite.operations.records.sealing import rotate_data_keys, seal_database, tell_data_keys
from orbsite.operations.report import Report, Section
from orbsite.runtime.home import program
from orbsite.storage.errors import OrbError
from orbsite.storage.file.document import OWN, require_directory
from orbsite.storage.file.repacking import (
    DAMAGED,
    forms,
    forms_of,
    forms_of_tombstones,
    repack,
    repack_tombstones,
)
from orbsite.storage.file.store import FileStore
from orbsite.storage.file.tombstones import TOMBSTONES
from orbsite.storage.findings import error, warning
from orbsite.storage.records.domain import Domain
from orbsite.storage.sealing.envelope import Packing
from orbsite.stores import open_document

COLUMNS = ("to write", "written", "left")
STATUS_COLUMNS = ("as configured", "not as configured")
OTHER = "tombstones"
BACKUPS = "backups"


def seal(
    domains: list[Domain], base: Path, *, apply: bool, unseal: bool = False, progress: Progress = silent
) -> Report:
    """Bring the files under a data directory into the configured form: sealed with the first key, and compressed.

    With `unseal`, sealed files are opened instead; the keys must still be configured. Without `apply`, nothing is
    written. A run that was interrupted is continued by the next one. Raises OrbError without keys, DocumentError where
    a document cannot be opened, and SaveFailed.
    """
    packing = app_settings.packing(allows_plain=True)
    if packing.keys is None:
        raise OrbError("no keys are configured, so nothing can be sealed or opened; set ORB_KEYS or ORB_KEY_FILE")
    if unseal:
        packing = Packing(is_compressed=packing.is_compressed, keys=packing.keys, allows_plain=True, seals=False)
    report = _repacked(domains, base, packing, apply=apply, progress=progress)
    if has_table():
        seal_database(report, domains, apply=apply, unseal=unseal, progress=progress)
    return report


def rotate(domains: list[Domain], base: Path, *, apply: bool, progress: Progress = silent) -> Report:
    """Seal the files that another key than the first one seals, with the first one. Nothing that is plain is read.

    Without `apply`, nothing is written. Raises OrbError without keys, NotSealed for a plain document, the other errors
    of `seal`.
    """
    packing = app_settings.packing()
    if packing.keys is None:
        raise OrbError("no keys are configured; set ORB_KEYS or ORB_KEY_FILE, the new key first")
    report = _repacked(domains, base, packing, apply=apply, progress=progress)
    if has_table():
        rotate_data_keys(report, apply=apply, progress=progress)
    return report


def key_status(domains: list[Domain], base: Path, backups: Path) -> Report:
    """Count the files and the bytes that each key seals, of each document, of the tombstones and of the backups.

    The report is not ok where keys are configured and a file in use is not sealed with the first one.
    """
    _require_data(base)
    report, wanted = Report(columns=STATUS_COLUMNS, bad=("not as configured",)), app_settings.packing().form
    for domain in domains:
        document = open_document(domain, base, app_settings.packing(allows_plain=True))
        _tell_forms(report.section(domain.name, ["files"]), domain.file.parent, forms(document), wanted)
    tombstones = report.section(OTHER, ["files"])
    _tell_forms(tombstones, Path(OWN, TOMBSTONES), forms_of_tombstones(base), wanted)
    found = (
        (str(path.relative_to(backups)), forms_of(path.read_bytes()))
        for path in sorted(backups.rglob("*.json"))
        if path.is_file() and not path.is_symlink()
    )
    _tell_forms(report.section(BACKUPS, ["files"]), Path(), found, None)
    if has_table():
        tell_data_keys(report, domains)
    return report


def _repacked(domains: list[Domain], base: Path, packing: Packing, *, apply: bool, progress: Progress) -> Report:
    _require_data(base)
    report = Report(columns=COLUMNS, bad=("left",))
    for domain in domains:
        document = open_document(domain, base, packing)
        section = report.section(domain.name, ["files"])
        if not document.path.exists():
            continue
        if apply:
            store = FileStore(domain, document, journal_above=app_settings.journal_above())
            if store.fold():
                section.facts["journal folded"] = True
            _tell_written(section, domain.file.parent, repack(document), progress)
        else:
            _tell_plan(section, domain.file.parent, forms(document), packing)
    section = report.section(OTHER, ["files"])
    if apply:
        _tell_written(section, Path(OWN, TOMBSTONES), repack_tombstones(base, packing), progress)
    else:
        _tell_plan(section, Path(OWN, TOMBSTONES), forms_of_tombstones(base), packing)
    return report


def _require_data(base: Path) -> None:
    """Raise DocumentError if there is no data directory, unless the data is in a database."""
    if app_settings.persistence() is not Persistence.SQL or not has_table():
        require_directory(base)


def _tell_written(
    section: Section, place: PurePath, written: Iterator[tuple[str, str | None]], progress: Progress
) -> None:
    for name, problem in written:
        section.count("files", "written" if problem is None else "left")
        if problem is not None:
            section.findings.append(error(str(place / name), f"it was left as it is: {problem}"))
        progress(1)


def _tell_plan(section: Section, place: PurePath, found: Iterator[tuple[str, Counter[str]]], packing: Packing) -> None:
    for name, forms_found in found:
        other = sorted(forms_found.keys() - {packing.form})
        if "plain" in other and not packing.allows_plain:
            section.count("files", "left")
            section.findings.append(error(str(place / name), f"is plain; run: {program()} seal_orb_data --apply"))
        elif other and forms_found.total():
            section.count("files", "to write")
            section.findings.append(
                warning(str(place / name), f"is {', '.join(other)}; --apply makes it {packing.form}")
            )


def _tell_forms(
    section: Section, place: PurePath, found: Iterator[tuple[str, Counter[str]]], wanted: str | None
) -> None:
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for name, forms_found in found:
        files.update(forms_found.keys())
        sizes.update(forms_found)
        is_right = not wanted or not wanted.startswith("key ") or forms_found.keys() <= {wanted}
        section.count("files", "as configured" if is_right and DAMAGED not in forms_found else "not as configured")
        if DAMAGED in forms_found:
            section.findings.append(error(str(place / name), "the header of its envelope is damaged"))
        elif wanted and not is_right:
            other = ", ".join(sorted(forms_found.keys() - {wanted}))
            todo = "seal_orb_data" if "plain" in forms_found or "compressed" in forms_found else "rotate_orb_keys"
            section.findings.append(error(str(place / name), f"is {other}; run: {program()} {todo} --apply"))
    for form in sorted(sizes):
        section.facts |= {f"{form}: files": files[form], f"{form}: bytes": sizes[form]}
