"""Functions for all background work: worker names, stored reports and errors, and dead workers."""

from __future__ import annotations

import os
import secrets
import socket
import traceback
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from orbsite.models.jobs import Job, JobState
from orbsite.operations.report import Report
from orbsite.storage.errors import OrbError

STALE_AFTER = timedelta(minutes=5)
"""How long a worker may go without a heartbeat: longer than any transaction of SQLite should take."""


def a_name() -> str:
    """Return a unique name for a worker."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"


def a_name_with_place() -> str:
    """Return a unique name for a worker, from which the other processes of its host see that it has ended."""
    return f"{a_name()}:{_place()}"


def is_gone(worker: str) -> bool:
    """Tell whether a worker, by its name with its place, ran among the processes of this host and has ended.

    False for any worker whose process cannot be seen from here.
    """
    *_, process, _, place = ["", "", "", *worker.split(":")]
    if not place or place != _place() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _place() -> str:
    """Return a digest of what gives the processes here their numbers: this start of the host, and the container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not on Linux
        return ""
    return sha256(f"{boot}{namespace}".encode()).hexdigest()[:8]


def brief(report: Report, most: int = 100) -> dict[str, Any]:
    """Return a report for storage in a row, with only its first `most` findings."""
    made = report.as_json()
    findings = made["findings"]
    more = {"more_findings": len(findings) - most} if len(findings) > most else {}
    return made | {"findings": findings[:most], **more}


def so_far(report: Report | None, most: int = 20) -> dict[str, Any] | None:
    """Return the counts of a report in the making, and its last `most` findings.

    Another thread may be writing the report.
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
    """Return the text of an error for users: our own message, or only the type and place of an unexpected error."""
    if isinstance(problem, OrbError):
        return str(problem)
    where = traceback.extract_tb(problem.__traceback__)[-1]
    place = f"{Path(where.filename).name}, line {where.lineno}"
    return f"an unexpected {type(problem).__name__} in {place}; run the command by hand to see all of it"


def fail_stale_jobs(now: datetime, stale_after: timedelta) -> int:
    """Fail the jobs whose workers have stopped sending heartbeats, and return their number."""
    number = 0
    for job in Job.objects.filter(state=JobState.RUNNING, heartbeat__lt=now - stale_after):
        same = Job.objects.filter(pk=job.pk, state=JobState.RUNNING, heartbeat=job.heartbeat)
        error = f"its worker {job.worker} has sent no heartbeat since {job.heartbeat}; start it again"
        number += same.update(state=JobState.FAILED, finished_at=now, error=error)
    return number
