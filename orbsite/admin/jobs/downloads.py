"""What an export has written, to take away: its files in one archive, or one of them, a piece at a time."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST

from orbsite.admin.auth import reauthentication
from orbsite.admin.base import audit
from orbsite.admin.base.permissions import may, page
from orbsite.admin.jobs.start import confirmation, found, to_job
from orbsite.conf import app_settings
from orbsite.models.jobs import Job
from orbsite.storage.errors import DocumentRefused
from orbsite.storage.filesystem.directory import Directory
from orbsite.storage.records.domain import registered

_NAME = re.compile(r"export-[0-9]{8}T[0-9]{6,12}Z", re.ASCII)
_PIECE = 1 << 18
_PRIVATE = (stat.S_IFREG | 0o600) << 16


def urls(site: AdminSite) -> list[Any]:
    """Return the address of the exports."""

    def allowed(request: HttpRequest) -> bool:
        return may(request.user, "export")

    return [path("console/jobs/<int:number>/download/", page(site, download, allowed=allowed), name="download")]


@require_POST
def download(request: HttpRequest, number: int) -> Any:
    """Send what a job has exported, and note who took it."""
    job = found(request, number)
    to = reverse("admin:job", args=[job.pk])
    if confirm := confirmation(request, job.operation, job.arguments, to=to):
        return confirm
    wanted = request.POST.get("domain")
    place = place_of(job)
    files = [] if place is None else [one for one in files_in(place) if wanted in (None, one[0])]
    if place is None or not files:
        messages.error(request, "The files are not here: removed, or on the host of the worker. Start the job again.")
        return to_job(job)
    if confirm := reauthentication.ask_for_many(request, _exported(job), to):
        return confirm
    audit.note(request, "download", subject=job.pk, directory=place.name, domains=[name for name, _ in files])
    if wanted is not None:
        file = files[0][1]
        answer = StreamingHttpResponse(_pieces(place, file), content_type="application/json")
        name = f"{place.name}-{file.name}"
    else:
        moment = job.finished_at or job.created_at
        answer = StreamingHttpResponse(
            zipped(place, [file for _, file in files], moment), content_type="application/zip"
        )
        name = f"{place.name}.zip"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _exported(job: Job) -> int:
    """Return how many records an export has written."""
    domains = (job.result or {}).get("domains", {})
    return sum(int(counts.get("exported", 0)) for counts in domains.values())


def place_of(job: Job) -> Path | None:
    """Return the directory that an export has written to; None where a job has none, or names no such directory."""
    name = (job.result or {}).get("directory")
    if job.operation != "export" or not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    return app_settings.backup_directory() / name


def files_in(place: Path) -> list[tuple[str, PurePosixPath]]:
    """Return the domains of which there is a file, and the files' places."""
    there = []
    for domain in registered():
        with ExitStack() as stack:
            try:
                _opened(stack, place, domain.file)
            except (FileNotFoundError, DocumentRefused):
                continue
            there.append((domain.name, domain.file))
    return there


def zipped(place: Path, files: list[PurePosixPath], moment: datetime) -> Iterator[bytes]:
    """Yield an archive of files; nothing of it is ever on the disk, and no more than a piece in memory."""
    sink = _Sink()
    with ZipFile(sink, "w", ZIP_DEFLATED) as archive:
        for file in files:
            known = ZipInfo(str(file), moment.timetuple()[:6])
            known.compress_type, known.external_attr = ZIP_DEFLATED, _PRIVATE
            with archive.open(known, "w", force_zip64=True) as member:
                for piece in _pieces(place, file):
                    member.write(piece)
                    yield sink.taken()
    yield sink.taken()


def _pieces(place: Path, file: PurePosixPath) -> Iterator[bytes]:
    with ExitStack() as stack:
        opened = _opened(stack, place, file)
        while piece := opened.read(_PIECE):
            yield piece


def _opened(stack: ExitStack, place: Path, file: PurePosixPath) -> BinaryIO:
    """Open a plain file of ours, by no link. Raises FileNotFoundError and DocumentRefused."""
    directory = stack.enter_context(Directory.open(place))
    for name in file.parts[:-1]:
        directory = stack.enter_context(directory.enter(name))
    try:
        opened = stack.enter_context(os.fdopen(directory.fs.open_for_reading(file.name, directory.descriptor), "rb"))
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise DocumentRefused(f"{place.name}/{file} cannot be read ({problem.strerror})") from problem
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        raise DocumentRefused(f"{place.name}/{file} is no plain file")
    return opened


class _Sink(io.RawIOBase):
    """Takes what an archive writes, until it is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []

    def writable(self) -> bool:
        """It can only be written to, from the beginning to the end."""
        return True

    def write(self, data: Any) -> int:
        """Keep it."""
        self._written.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        """Return what was written since."""
        data = b"".join(self._written)
        self._written.clear()
        return data
