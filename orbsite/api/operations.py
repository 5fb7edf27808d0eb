"""Operations: statistics, and long operations as jobs, which are started and monitored here and run by a worker."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from orbsite.api.idempotency import IdempotentRequest, once
from orbsite.api.permissions import job_for, require_for
from orbsite.api.problems import BAD, CONFLICT, Problem
from orbsite.api.schema import IDEMPOTENT, READ_AFTER, described, field, shape
from orbsite.api.views import OrbView, opened
from orbsite.models.bulk_migrations import BulkMigration, DirectoryState
from orbsite.models.jobs import Job, JobState
from orbsite.operations.bulk_migration.status import SUMS, totals
from orbsite.operations.jobs import catalog, jobs
from orbsite.operations.jobs.parameters import Request as Operation
from orbsite.operations.statistics.stats import stats
from orbsite.runtime.client_ip import of_client
from orbsite.storage.clock import utc_now
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.errors import OrbError, QuotaExceeded
from orbsite.storage.findings import ROOT, step
from orbsite.storage.records.domain import registered

OFFERED = ("validate", "migrate", "verify", "rollback", "compact", "export", "check", "backup")
"""The operations that the API can start, by their names in `catalog.OPERATIONS`."""
ALREADY_QUEUED = "Job-Already-Queued"
"""The header which says that an equal job was queued already, and that the response shows that job."""
_OPERATE = dict.fromkeys(("GET", "HEAD", "POST", "DELETE"), "operate")
_TIME = {"type": ["string", "null"], "format": "date-time"}
_JOB = {
    "type": "object",
    "required": ["id", "operation", "arguments", "state", "progress", "expected", "result", "error", "createdAt"],
    "properties": {
        "id": {"type": "integer"},
        "operation": {"type": "string"},
        "arguments": {"type": "object"},
        "state": {"enum": list(JobState.values)},
        "progress": {"type": "integer"},
        "expected": {"type": ["integer", "null"]},
        "result": {"type": ["object", "null"]},
        "error": {"type": "string"},
        "createdAt": {"type": "string", "format": "date-time"},
        "startedAt": _TIME,
        "finishedAt": _TIME,
    },
    "additionalProperties": False,
}
_ALREADY_QUEUED = OpenApiParameter(
    ALREADY_QUEUED,
    {"type": "string", "enum": ["true"]},
    OpenApiParameter.HEADER,
    response=[202],
    description="An equal job of the same token was queued already. The response shows that job.",
)
_BULK_MIGRATION = {
    "type": "object",
    "required": ["id", "workers", "directories", *SUMS],
    "properties": {
        "id": {"type": "integer"},
        "workers": {"type": "integer"},
        "directories": {
            "type": "object",
            "required": ["all", *DirectoryState.values],
            "properties": {name: {"type": "integer"} for name in ("all", *DirectoryState.values)},
            "additionalProperties": False,
        },
        **{name: {"type": "integer"} for name in SUMS},
    },
    "additionalProperties": False,
}
described("BulkMigration", _BULK_MIGRATION)
described("Job", _JOB)
described("Report", {"type": "object", "required": ["run", "ok", "domains", "findings"]})


class Stats(OrbView):
    """The statistics of the stores."""

    scopes = _OPERATE
    needs_every_user = True

    @extend_schema(operation_id="stats", parameters=[READ_AFTER], responses={200: shape("Report")})
    def get(self, request: Request) -> Any:  # noqa: ARG002 -- Django's signature
        """Count the records of the configured stores."""
        report = self.may_be_stale(lambda: stats([opened(domain) for domain in registered()], now=utc_now))
        return Response(report.as_json())


class Start(OrbView):
    """A long operation that can be started as a job."""

    operation: ClassVar[str]

    def post(self, request: Request) -> Any:  # noqa: ARG002 -- Django's signature
        """Queue the operation as a job, whose address is in `Location`. The body has its arguments, {} for none."""
        return once(self, self._start)

    def _start(self, attempt: IdempotentRequest) -> Any:
        token, arguments = self.token, self._arguments()
        origin: dict[str, Any] = {"actor": f"token {token.prefix}", "address": of_client(self.request), "token": token}
        try:
            require_for(token, catalog.read(self.operation, arguments))
            job, is_new = jobs.get_or_start(self.operation, arguments, now=utc_now, attempt=attempt.new_id(0), **origin)
        except QuotaExceeded:
            raise
        except OrbError as problem:
            raise Problem(BAD, errors=[(ROOT, str(problem))]) from problem
        headers = {"Location": f"{self.request.path.rpartition('/')[0]}/jobs/{job.pk}"}
        return Response(_shown(job), status=202, headers=headers if is_new else headers | {ALREADY_QUEUED: "true"})

    def _arguments(self) -> dict[str, Any]:
        """Return the arguments of the body, under their Python names. Raises Problem."""
        names = {_camel(name): name for name in catalog.OPERATIONS[self.operation].__struct_encode_fields__}
        given = self.object_of(self.body())
        unknown = [(step(ROOT, name), "is not known here") for name in given if name not in names]
        if unknown:
            raise Problem(BAD, errors=unknown)
        return {names[name]: value for name, value in given.items()}


class OneJob(OrbView):
    """A job: its state, its progress and its result."""

    scopes = _OPERATE

    @extend_schema(operation_id="getJob", responses={200: shape("Job")})
    def get(self, request: Request, job: int) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the state, the progress and the result of a job."""
        return Response(_shown(job_for(self.token, job)))


class Cancel(OrbView):
    """The cancellation of a job."""

    scopes = _OPERATE

    @extend_schema(operation_id="cancelJob", request=None, responses={202: shape("Job")})
    def post(self, request: Request, job: int) -> Any:  # noqa: ARG002 -- Django's signature
        """Cancel a queued or running job (409 if it has ended). A running job stops where it can be resumed."""
        job_for(self.token, job)
        try:
            return Response(_shown(jobs.cancel(job, now=utc_now)), status=202)
        except OrbError as problem:
            raise Problem(CONFLICT, str(problem)) from problem


class OneBulkMigration(OrbView):
    """A bulk migration: how many of its directories wait, run, are done or have failed."""

    scopes = _OPERATE
    needs_every_user = True

    @extend_schema(operation_id="getBulkMigration", responses={200: shape("BulkMigration")})
    def get(self, request: Request, bulk: int) -> Any:  # noqa: ARG002 -- Django's signature
        """Return the number of directories by state, and of the records that were read and written."""
        found = BulkMigration.objects.filter(pk=bulk).first()
        if found is None:
            raise Http404
        counts = totals(found)
        directories = {name: counts[name] for name in ("all", *DirectoryState.values)}
        sums = {name: counts[name] for name in SUMS}
        return Response({"id": found.pk, "workers": found.workers, "directories": directories, **sums})


def view_of(name: str) -> type[Start]:
    """Return the view class that starts an operation."""
    kind = catalog.OPERATIONS[name]
    declared = {"scopes": {"POST": kind.scope}, "needs_every_user": not kind.takes_one_user}
    view = type(f"Start{kind.__name__}", (Start,), {"operation": name, "__doc__": kind.__doc__, **declared})
    described_as = extend_schema(
        operation_id=name,
        description=f"{kind.__doc__} {_needs(kind)}",
        parameters=[IDEMPOTENT, _ALREADY_QUEUED],
        request={"application/json": described(f"{kind.__name__}Arguments", _arguments_of(kind))},
        responses={202: shape("Job")},
    )
    return extend_schema_view(post=described_as)(view)


def _needs(kind: type[Operation]) -> str:
    """Return a description of the token that an operation needs."""
    reach = (
        "With `user`, a token for that user suffices; without it, a token for every user is needed."
        if (kind.takes_one_user)
        else "A token for every user is needed."
    )
    more = "".join(f" With `{_camel(name)}`, the scope `admin` is needed." for name in kind.admin_when)
    queued = "If an equal job of the same token is queued, the response shows that job and no new one is created."
    return f"{reach}{more} {queued}"


def _arguments_of(kind: type[Operation]) -> dict[str, Any]:
    """Return the schema of an operation's arguments, from its declaration."""
    schema = msgspec.json.schema_components([kind])[1][kind.__name__]
    names = [domain.name for domain in registered()]
    given = {_camel(name): field(one) for name, one in schema["properties"].items()}
    given["only"] = {"type": ["array", "null"], "items": {"type": "string", "enum": names}}
    required = [_camel(name) for name in schema["required"]]
    return {"type": "object", "properties": given, "required": required, "additionalProperties": False}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _shown(job: Job) -> dict[str, Any]:
    times = {"createdAt": job.created_at, "startedAt": job.started_at, "finishedAt": job.finished_at}
    return {
        "id": job.pk,
        **{name: getattr(job, name) for name in ("operation", "state", "progress", "expected", "result")},
        "arguments": {_camel(name): value for name, value in job.arguments.items()},
        "error": job.error,
        **{name: moment and spell(moment) for name, moment in times.items()},
    }
