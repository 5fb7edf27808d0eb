"""What everything that works on its own has in common: a name, the end of patience with the dead, and what it tells."""

from __future__ import annotations

import os
import secrets
import socket
import traceback
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orbsite.models.jobs import Job
from orbsite.operations.report import Report
from orbsite.storage.errors import OrbError

STALE_AFTER = timedelta(minutes=5)
"""How long a worker that gives no sign of life is waited for: longer than any transaction of SQLite's should take."""


def a_name() -> str:
    """Return a name for a worker that no other has."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"


def brief(report: Report, most: int = 100) -> dict[str, Any]:
    """Return a report as a row keeps it: of many findings, the first."""
    made = report.as_json()
    findings = made["findings"]
    more = {"more_findings": len(findings) - most} if len(findings) > most else {}
    return made | {"findings": findings[:most], **more}


def so_far(report: Report | None, most: int = 20) -> dict[str, Any] | None:
    """Return what a report that is still being made says: its counts, and of its findings the last few.

    Another thread may be writing it.
    """
    if report is None:
        return None
    sections = list(report.domains.items())
    findings = [(name, one) for name, section in sections for one in list(section.findings[-most:])][-most:]
    return {
        "counts": {
            name: {what: section.total(what) for what in report.columns} for name, section in sections if section.counts
        },
        "found": sum(len(section.findings) for _, section in sections),
        "findings": [
            {"domain": name, "path": one.path, "severity": one.severity.value, "message": one.message}
            for name, one in findings
        ],
    }


def told(problem: Exception) -> str:
    """Return what may be told of an error: our own message; of one that nobody expected, its kind and place alone."""
    if isinstance(problem, OrbError):
        return str(problem)
    where = traceback.extract_tb(problem.__traceback__)[-1]
    place = f"{Path(where.filename).name}, line {where.lineno}"
    return f"an unexpected {type(problem).__name__} in {place}; run the command by hand to see all of it"


def fail_stale_jobs(now: datetime, stale_after: timedelta) -> int:
    """Fail the jobs whose workers give no sign of life any more, and return how many there were."""
    number = 0
    for job in Job.objects.filter(state=Job.State.RUNNING, heartbeat__lt=now - stale_after):
        same = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, heartbeat=job.heartbeat)
        error = f"its worker {job.worker} has given no sign of life since {job.heartbeat}; start it again"
        number += same.update(state=Job.State.FAILED, finished_at=now, error=error)
    return number
