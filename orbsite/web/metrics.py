"""Metrics for Prometheus at `/metrics`, for tokens with the scope operate.

They are measured at each scrape, so that every process returns the same values. Record counts, which take long, are
measured once a minute. Request metrics come from the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError
from django.db.models import Count
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from orbsite.api.renderers import JSONRenderer
from orbsite.api.views import OrbView, opened
from orbsite.models.jobs import Job, JobState
from orbsite.models.ledger import Reject
from orbsite.operations.statistics.disk import free_bytes
from orbsite.storage.base.store import Store
from orbsite.storage.errors import OrbError
from orbsite.storage.postgresql.replicas import Condition, conditions
from orbsite.storage.records.domain import registered
from orbsite.web.health import CHECKS, journal_sizes, outcome

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_COUNTS = 60.0
_Sample = tuple[str, dict[str, str], float]
_counted: list[tuple[float, list[_Sample]]] = []


class PrometheusRenderer(JSONRenderer):
    """Declares the media type of metrics for content negotiation."""

    media_type = "text/plain"
    format = "prometheus"


class Metrics(OrbView):
    """Metrics in the text format of Prometheus."""

    scopes = {"GET": "operate", "HEAD": "operate"}
    renderer_classes = (PrometheusRenderer,)

    @extend_schema(operation_id="metrics", responses={(200, "text/plain"): {"type": "string"}})
    def get(self, request: Request) -> HttpResponse:  # noqa: ARG002 -- REST framework's signature
        """Return the metrics. Metrics that cannot be measured are left out; `orb_check` reports the failed checks.

        Counts of records and jobs need a token for every user.
        """
        measures = (_disk, _replicas, _journals, _records, _jobs) if self.token.every_user else (_disk, _replicas)
        samples: list[_Sample] = []
        for name, check in CHECKS.items():
            samples.append(("orb_check", {"check": name}, float(outcome(name, check) == "ok")))
        for measure in measures:
            try:
                samples += measure()
            except (OrbError, OSError, DatabaseError) as problem:
                logger.warning("metrics lack %s: %s", measure.__name__.strip("_"), type(problem).__name__)
        return HttpResponse(_printed(samples), content_type="text/plain; version=0.0.4; charset=utf-8")


def _disk() -> list[_Sample]:
    return [("orb_disk_free_bytes", {}, float(free_bytes()))]


def _replicas() -> list[_Sample]:
    return [("orb_replica_fit", {"replica": name}, float(one is Condition.FIT)) for name, one in conditions().items()]


def _journals() -> list[_Sample]:
    return [("orb_journal_bytes", {"domain": name}, float(size)) for name, size in journal_sizes()]


def _records() -> list[_Sample]:
    """Return the record counts, which are cached for a minute."""
    now = time.monotonic()
    if not _counted or _counted[0][0] < now - _SECONDS_BETWEEN_COUNTS:
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
    return [("orb_jobs", {"state": state}, float(states.get(state, 0))) for state in JobState.values]


def _printed(samples: list[_Sample]) -> str:
    lines: list[str] = []
    for name in dict.fromkeys(name for name, _, _ in samples):
        lines += [f"# TYPE {name} gauge", *(_line(*one) for one in samples if one[0] == name)]
    return "\n".join(lines) + "\n"


def _line(name: str, labels: dict[str, Any], value: float) -> str:
    pairs = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{pairs}}} {value:.0f}" if pairs else f"{name} {value:.0f}"
