"""Downloads of exports: all files in one zip archive, or one file. Both are streamed in chunks."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST
from typing_extensions import override

from orbsite.admin.auth import reauthentication
from orbsite.admin.base import audit
from orbsite.admin.base.permissions import may, page
from orbsite.admin.jobs.start import confirmation, get_job, to_job
from orbsite.conf import app_settings
from orbsite.models.jobs import Job
from orbsite.storage.errors import DocumentRefused, OrbError
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.records.domain import registered
from orbsite.storage.sealing.packed import is_packed

_NAME = re.compile(r"export-[0-9]{8}T[0-9]{6,12}Z", re.ASCII)
_CHUNK_BYTES = 1 << 18
_PRIVATE = (stat.S_IFREG | 0o600) << 16


def urls(site: AdminSite) -> list[Any]:
    """Return the URL pattern of the downloads."""

    def allowed(request: HttpRequest) -> bool:
        return may(request.user, "export")

    return [path("console/jobs/<int:number>/download/", page(site, download, allowed=allowed), name="download")]


@require_POST
def download(request: HttpRequest, number: int) -> Any:
    """Send the files of an export job, and write the download to the audit log."""
    job = get_job(request, number)
    to = reverse("admin:job", args=[job.pk])
    if confirm := confirmation(request, job.operation, job.arguments, to=to):
        return confirm
    domain = request.POST.get("domain")
    directory = export_directory(job)
    files = [] if directory is None else [entry for entry in files_in(directory) if domain in (None, entry[0])]
    if directory is None or not files:
        messages.error(
            request,
            "The exported files are not on this server: they were deleted, or they are on the worker's host. "
            "Start the job again.",
        )
        return to_job(job)
    if confirm := reauthentication.ask_for_many(request, _exported(job), to):
        return confirm
    moment = job.finished_at or job.created_at
    try:
        if domain is None:
            parts = _begun(zipped(directory, [file for _, file in files], moment))
        else:
            parts = _begun(_chunks(directory, files[0][1]))
    except OrbError as problem:
        messages.error(request, f"The exported files cannot be sent: {problem}")
        return to_job(job)
    audit.note(request, "download", subject=job.pk, directory=directory.name, domains=[name for name, _ in files])
    kind = "application/zip" if domain is None else "application/json"
    name = f"{directory.name}.zip" if domain is None else f"{directory.name}-{files[0][1].name}"
    return StreamingHttpResponse(
        parts, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def _begun(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Return these parts, the first of which was made already, so that its errors are raised now."""
    return chain([next(parts, b"")], parts)


def _exported(job: Job) -> int:
    domains = (job.result or {}).get("domains", {})
    return sum(int(counts.get("exported", 0)) for counts in domains.values())


def export_directory(job: Job) -> Path | None:
    """Return the directory of an export job, or None if the job has none or its name is not valid."""
    name = (job.result or {}).get("directory")
    if job.operation != "export" or not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    return app_settings.backup_directory() / name


def files_in(directory: Path) -> list[tuple[str, PurePosixPath]]:
    """Return the domains that have a file in an export's directory, with the files' relative paths."""
    files = []
    for domain in registered():
        with ExitStack() as stack:
            try:
                _open(stack, directory, domain.file)
            except (FileNotFoundError, DocumentRefused):
                continue
            files.append((domain.name, domain.file))
    return files


def zipped(directory: Path, files: list[PurePosixPath], moment: datetime) -> Iterator[bytes]:
    """Yield a zip archive of files in chunks; it is never written to disk, and only one chunk is in memory."""
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_DEFLATED) as archive:
        for file in files:
            info = ZipInfo(str(file), moment.timetuple()[:6])
            info.compress_type, info.external_attr = ZIP_DEFLATED, _PRIVATE
            with archive.open(info, "w", force_zip64=True) as member:
                for chunk in _chunks(directory, file):
                    member.write(chunk)
                    yield sink.take()
    yield sink.take()


def _chunks(directory: Path, file: PurePosixPath) -> Iterator[bytes]:
    """Yield the content of a file; of one that is sealed or compressed, after it was opened as a whole."""
    with ExitStack() as stack:
        opened = _open(stack, directory, file)
        chunk = opened.read(_CHUNK_BYTES)
        if is_packed(chunk):
            envelope = app_settings.packing(allows_plain=True).envelope(str(file.with_suffix("")))
            data = envelope.open(chunk + opened.read())
            yield from (data[at : at + _CHUNK_BYTES] for at in range(0, len(data), _CHUNK_BYTES))
            return
        while chunk:
            yield chunk
            chunk = opened.read(_CHUNK_BYTES)


def _open(stack: ExitStack, directory: Path, file: PurePosixPath) -> BinaryIO:
    """Open a regular file without following links. Raises FileNotFoundError, or DocumentRefused for other files."""
    parent = stack.enter_context(Directory.open(directory))
    for name in file.parts[:-1]:
        parent = stack.enter_context(parent.enter(name))
    try:
        opened = stack.enter_context(os.fdopen(parent.fs.open_for_reading(file.name, parent.descriptor), "rb"))
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise DocumentRefused(f"{directory.name}/{file} cannot be read: {problem.strerror}") from problem
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        raise DocumentRefused(f"{directory.name}/{file} is not a regular file")
    return opened


class _Sink(io.RawIOBase):
    """A write-only stream that collects the bytes of an archive until `take` returns them."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: Any) -> int:
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Return and clear the bytes written since the last call."""
        data = b"".join(self._written)
        self._written.clear()
        return data
