"""How it is: `/livez`, `/readyz` for whoever asks, `/metrics` for Prometheus with a token of scope operate.

Metrics are measured when they are asked for, and so the same whichever process answers; requests are counted from the
log. What takes long to count is counted once a minute.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from orbsite import conf
from orbsite.api.renderers import JSONRenderer
from orbsite.api.views import OrbView, opened
from orbsite.models import Reject
from orbsite.storage.domain import registered
from orbsite.storage.errors import OrbError
from orbsite.storage.file import FileStore
from orbsite.storage.javascript import compact
from orbsite.storage.store import Store
from orbsite.upkeep import Job

logger = logging.getLogger(__name__)

_SECONDS = 60.0
_Sample = tuple[str, dict[str, str], float]
_counted: list[tuple[float, list[_Sample]]] = []
_are_migrated: set[str] = set()


@require_safe
def live(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 -- Django's signature
    """Tell that this process answers."""
    return HttpResponse(compact({"status": "live"}), content_type="application/json")


@require_safe
def ready(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 -- Django's signature
    """Tell whether it can work: 503, and which check failed, where it cannot; the log says why."""
    checks = {name: _outcome(name, check) for name, check in CHECKS.items()}
    fine = all(outcome == "ok" for outcome in checks.values())
    body = compact({"status": "ready" if fine else "not ready", "checks": checks})
    return HttpResponse(body, content_type="application/json", status=200 if fine else 503)


class PrometheusRenderer(JSONRenderer):
    """Names the media type of metrics, for negotiation."""

    media_type = "text/plain"
    format = "prometheus"


class Metrics(OrbView):
    """Figures in the text format of Prometheus."""

    scopes = {"GET": "operate", "HEAD": "operate"}
    renderer_classes = (PrometheusRenderer,)

    @extend_schema(operation_id="metrics", responses={(200, "text/plain"): {"type": "string"}})
    def get(self, request: Request) -> HttpResponse:  # noqa: ARG002 -- REST framework's signature
        """Return what can be measured; what cannot is left out, and told by `orb_check`.

        What counts records and jobs of every user is for tokens of every user.
        """
        measures = (_disk, _journals, _records, _jobs) if self.token.every_user else (_disk,)
        samples: list[_Sample] = []
        for name, check in CHECKS.items():
            samples.append(("orb_check", {"check": name}, float(_outcome(name, check) == "ok")))
        for measure in measures:
            try:
                samples += measure()
            except (OrbError, OSError, DatabaseError) as problem:
                logger.warning("metrics lack %s: %s", measure.__name__.strip("_"), type(problem).__name__)
        return HttpResponse(_printed(samples), content_type="text/plain; version=0.0.4; charset=utf-8")


def _store() -> bool:
    for domain in registered():
        opened(domain).fetch(domain.kinds[0], [("",) * len(domain.kinds[0].key_fields)])
    return True


def _migrations() -> bool:
    """Tell whether all migrations are applied; once they are, they stay so."""
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
    return all(size <= settings.ORB_MAX_JOURNAL_BYTES for _, _, size in _journals())


CHECKS: dict[str, Callable[[], bool]] = {
    "store": _store,
    "migrations": _migrations,
    "disk": _has_room,
    "journal": _journals_are_short,
}


def _outcome(name: str, check: Callable[[], bool]) -> str:
    try:
        if check():
            return "ok"
        logger.warning("the check %s failed", name)
    except (OrbError, OSError, DatabaseError) as problem:
        logger.warning("the check %s failed: %s", name, type(problem).__name__)
    return "failed"


def free_bytes() -> int:
    """Return the room on the disk that the files are on, or will be."""
    place: Path = conf.data_directory().absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _disk() -> list[_Sample]:
    return [("orb_disk_free_bytes", {}, float(free_bytes()))]


def _journals() -> list[_Sample]:
    found: list[_Sample] = []
    for domain in registered():
        store = opened(domain)
        if isinstance(store, FileStore):
            found.append(("orb_journal_bytes", {"domain": domain.name}, float(store.journal_size())))
    return found


def _records() -> list[_Sample]:
    """Count records, once a minute."""
    now = time.monotonic()
    if not _counted or _counted[0][0] < now - _SECONDS:
        _counted[:] = [(now, list(_sizes()))]
    return _counted[0][1]


def _sizes() -> Iterator[_Sample]:
    for domain in registered():
        store: Store = opened(domain)
        yield "orb_store_bytes", {"domain": domain.name}, float(store.size())
        for kind in domain.kinds:
            yield "orb_records", {"domain": domain.name, "kind": kind.plural}, float(store.count(kind))
        rejects = Reject.objects.filter(domain=domain.name, settled_by=None).count()
        yield "orb_rejects_open", {"domain": domain.name}, float(rejects)


def _jobs() -> list[_Sample]:
    states = dict(Job.objects.order_by().values_list("state").annotate(Count("pk")))
    return [("orb_jobs", {"state": state}, float(states.get(state, 0))) for state in Job.State.values]


def _printed(samples: list[_Sample]) -> str:
    lines: list[str] = []
    for name in dict.fromkeys(name for name, _, _ in samples):
        lines += [f"# TYPE {name} gauge", *(_line(*one) for one in samples if one[0] == name)]
    return "\n".join(lines) + "\n"


def _line(name: str, labels: dict[str, Any], value: float) -> str:
    told = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{told}}} {value:.0f}" if told else f"{name} {value:.0f}"
