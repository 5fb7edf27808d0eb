"""Health checks: `/livez` and `/readyz`, which need no token."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from django.conf import settings
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from orbsite.api.views import opened
from orbsite.operations.statistics.disk import free_bytes
from orbsite.storage.encoding.json_printer import compact
from orbsite.storage.errors import OrbError
from orbsite.storage.records.domain import registered

logger = logging.getLogger(__name__)

_are_migrated: set[str] = set()


@require_safe
def live(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 -- Django's signature
    """Report that the process responds."""
    return HttpResponse(compact({"status": "live"}), content_type="application/json")


@require_safe
def ready(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 -- Django's signature
    """Report whether the process can serve requests: 200, or 503 with the failed checks. The log has the reasons."""
    checks = {name: outcome(name, check) for name, check in CHECKS.items()}
    fine = all(outcome == "ok" for outcome in checks.values())
    body = compact({"status": "ready" if fine else "not ready", "checks": checks})
    return HttpResponse(body, content_type="application/json", status=200 if fine else 503)


def _store() -> bool:
    for domain in registered():
        opened(domain).fetch(domain.kinds[0], [("",) * len(domain.kinds[0].key_fields)])
    return True


def _migrations() -> bool:
    """Tell whether all migrations are applied and the database responds. Applied migrations are checked only once."""
    if "default" not in _are_migrated:
        executor = MigrationExecutor(connections["default"])
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return False
        _are_migrated.add("default")
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT 1")
    return True


def _has_room() -> bool:
    return free_bytes() >= settings.ORB_MIN_FREE_BYTES


def _journals_are_short() -> bool:
    return all(size <= settings.ORB_MAX_JOURNAL_BYTES for _, size in journal_sizes())


CHECKS: dict[str, Callable[[], bool]] = {
    "store": _store,
    "migrations": _migrations,
    "disk": _has_room,
    "journal": _journals_are_short,
}


def outcome(name: str, check: Callable[[], bool]) -> str:
    """Run a check and return "ok" or "failed". The log has the reason."""
    try:
        if check():
            return "ok"
        logger.warning("the check %s failed", name)
    except (OrbError, OSError, DatabaseError) as problem:
        logger.warning("the check %s failed: %s", name, type(problem).__name__)
    return "failed"


def journal_sizes() -> Iterator[tuple[str, int]]:
    """Yield the name and the journal size in bytes of each domain that uses the file store."""
    for domain in registered():
        store = opened(domain)
        if (size := store.journal_size()) is not None:
            yield domain.name, size
