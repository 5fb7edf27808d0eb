"""Long work: the catalog of operations, and the jobs that run them. Imports every other operation."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Resolve `orbsite.operations.jobs.run_job`: tasks that wait in queues name it so."""
    if name != "run_job":
        raise AttributeError(name)
    from orbsite.operations.jobs.jobs import run_job

    return run_job
