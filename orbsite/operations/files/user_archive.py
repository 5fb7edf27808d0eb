"""Writes an archive with everything of one user, which programs and people can read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from orbsite.operations.files.export import document_of
from orbsite.operations.progress import Progress, silent
from orbsite.operations.report import Report
from orbsite.storage.base.snapshot import Snapshot, snapshots
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.errors import DocumentRefused, OrbError
from orbsite.storage.filesystem.atomic_replace import replace
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.records.record import plain

COLUMNS = ("exported", "rejected")
FORMAT = 1
PAGE, MANIFEST = "records.html", "manifest.json"
_HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{user}</title>
<style>body {{ font-family: sans-serif; max-width: 60rem; margin: auto; padding: 1rem }}
dt {{ font-weight: bold }} dd {{ white-space: pre-wrap; overflow-wrap: anywhere }}</style></head>
<body><h1>{user}</h1><p>All records of this user on {made}.</p>{sections}</body></html>
"""


def write_archive(
    stores: list[Store], user: str, to: Path, *, now: Callable[[], datetime], progress: Progress = silent
) -> Report:
    """Write a new ZIP archive with the user's records, private, as a whole or not at all.

    It has a JSON file in the guide's layout for each store, a page for a browser, and a manifest with the SHA-256 of
    each file. A record that cannot be decoded becomes a finding. Raises DocumentRefused if the file exists, OrbError if
    the user has no records, and SaveFailed.
    """
    if to.exists() or to.is_symlink():
        raise DocumentRefused(f"{to} already exists; choose another name")
    moment = spell(now())
    report, files, sections = Report(columns=COLUMNS), {}, []
    progress.tells_of(report)
    with snapshots(stores, user) as taken:
        for snapshot in taken:
            section = report.section_of(snapshot.domain)
            files[str(snapshot.domain.file)] = document_of(snapshot, section=section, progress=progress)
            sections.append(_sections(snapshot))
    if not any(section.total(what) for section in report.domains.values() for what in COLUMNS):
        raise OrbError(f"there are no records of the user {user!r}; nothing was written. Check the spelling of the id")
    files[PAGE] = format_html(_HTML, user=user, made=moment, sections=SafeString("".join(sections))).encode()
    manifest = {
        "format": FORMAT,
        "user": user,
        "made": moment,
        "files": {name: {"size": len(data), "sha256": sha256(data).hexdigest()} for name, data in files.items()},
    }
    files[MANIFEST] = json.dumps(manifest, indent=2, ensure_ascii=False).encode()
    with Directory.open(to.parent.resolve()) as directory:
        replace(directory, to.name, _zipped(files), None)
    return report


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(
                zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED
            )  # without a time: equal data, equal bytes
    return buffer.getvalue()


def _sections(snapshot: Snapshot) -> SafeString:
    """Return a heading for each kind of record, and below it the fields of each record."""
    parts = []
    for kind in snapshot.domain.kinds:
        trees = (plain(kept.record, spell) for kept in snapshot.records(kind, []))
        fields = ((format_html_join("", "<dt>{}</dt><dd>{}</dd>", _texts(tree)),) for tree in trees)
        heading = format_html("<h2>{}</h2>", kind.plural.replace("_", " "))
        parts.append(heading + format_html_join("", "<dl>{}</dl>", fields))
    return SafeString("".join(parts))


def _texts(tree: dict[str, Any]) -> Iterable[tuple[str, str]]:
    for name, value in tree.items():
        yield name, value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
