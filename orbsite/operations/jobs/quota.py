"""How much work one token may start, and how many bytes its exports and backups may occupy.

Each limit is a setting: ORB_TOKEN_MAX_OPEN_JOBS, ORB_TOKEN_MAX_JOBS_PER_DAY and ORB_TOKEN_MAX_BYTES. People in the
console have no quota.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orbsite.conf import app_settings
from orbsite.models.jobs import OPEN, Job
from orbsite.operations.files.export_directories import bytes_in
from orbsite.operations.jobs.parameters import Request
from orbsite.storage.errors import QuotaExceeded

if TYPE_CHECKING:
    from orbsite.models.api_tokens import Token

_DAY = timedelta(days=1)
_SOON, _LATER = 60, 3600
"""Seconds after which a job may have ended, and files may have expired."""


def check(token: Token, request: Request, now: datetime) -> None:
    """Raise QuotaExceeded where a token may not start one more job now."""
    _check_open_jobs(token)
    _check_jobs_of_a_day(token, now)
    check_bytes(token, request)


def check_bytes(token: Token, request: Request) -> None:
    """Raise QuotaExceeded where a request would keep files, and those of earlier jobs are as large as they may be."""
    most = app_settings.token_max_bytes()
    if most is None or not request.keeps_files:
        return
    if (kept := kept_bytes(token)) >= most:
        raise QuotaExceeded(
            f"The exports and backups of this token occupy {kept:,} bytes, and may occupy {most:,} "
            "(ORB_TOKEN_MAX_BYTES). Have some removed, or wait until they expire.",
            _LATER,
        )


def kept_bytes(token: Token) -> int:
    """Return how many bytes the directories occupy that jobs of a token have written and that are still there."""
    under = app_settings.backup_directory()
    try:
        there = {path.name for path in under.iterdir()}
    except (FileNotFoundError, PermissionError):
        return 0
    places = Job.objects.filter(token=token, result__isnull=False).values_list("result__directory", "result__backup")
    names = {Path(text).name for pair in places.iterator() for text in pair if isinstance(text, str) and text}
    return sum(bytes_in(under / name) for name in names & there)


def _check_open_jobs(token: Token) -> None:
    most = app_settings.token_max_open_jobs()
    if most is not None and Job.objects.filter(token=token, state__in=OPEN).count() >= most:
        raise QuotaExceeded(
            f"This token has {most} jobs that wait or run, as many as it may have (ORB_TOKEN_MAX_OPEN_JOBS). "
            "Wait until some have ended, or cancel them.",
            _SOON,
        )


def _check_jobs_of_a_day(token: Token, now: datetime) -> None:
    most = app_settings.token_max_jobs_per_day()
    if most is None:
        return
    started = Job.objects.filter(token=token, created_at__gt=now - _DAY).order_by("-created_at")
    nth = started.values_list("created_at", flat=True)[most - 1 : most].first()
    if nth is not None:
        raise QuotaExceeded(
            f"This token has started {most} jobs within a day, as many as it may (ORB_TOKEN_MAX_JOBS_PER_DAY). "
            "Start it again later.",
            max(1, math.ceil((nth + _DAY - now).total_seconds())),
        )
