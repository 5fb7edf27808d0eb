"""Operations: figures at once, long work as a job that is started here, done by a worker, and followed."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from orbsite.api.idempotency import IdempotentRequest, once
from orbsite.api.permissions import job_for, require_for
from orbsite.api.problems import BAD, CONFLICT, Problem
from orbsite.api.schema import IDEMPOTENT, described, field, shape
from orbsite.api.views import OrbView, opened
from orbsite.models.jobs import Job
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
"""The operations that can be started, by their names in `requests.OPERATIONS`."""
JOBS = "/api/v1/operations/jobs"
WAITED = "Job-Already-Queued"
"""The header that says that an equal job waited already, and that the answer shows that one."""
_OPERATE = dict.fromkeys(("GET", "HEAD", "POST", "DELETE"), "operate")
_TIME = {"type": ["string", "null"], "format": "date-time"}
_WORK = {
    "type": "object",
    "required": ["id", "operation", "arguments", "state", "progress", "expected", "result", "error", "createdAt"],
    "properties": {
        "id": {"type": "integer"},
        "operation": {"type": "string"},
        "arguments": {"type": "object"},
        "state": {"enum": list(Job.State.values)},
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
_WAITED = OpenApiParameter(
    WAITED,
    {"type": "string", "enum": ["true"]},
    OpenApiParameter.HEADER,
    response=[202],
    description="An equal job of the same token waited already; this is that one.",
)
described("Job", _WORK)
described("Report", {"type": "object", "required": ["run", "ok", "domains", "findings"]})


class Stats(OrbView):
    """How much there is."""

    scopes = _OPERATE
    needs_every_user = True

    @extend_schema(operation_id="stats", responses={200: shape("Report")})
    def get(self, request: Request) -> Any:  # noqa: ARG002 -- Django's signature
        """Count what the stores in use hold."""
        return Response(stats([opened(domain) for domain in registered()], now=utc_now).as_json())


class Start(OrbView):
    """Long work that can be started."""

    operation: ClassVar[str]

    def post(self, request: Request) -> Any:  # noqa: ARG002 -- Django's signature
        """Queue it, and say where to follow it; the body holds its arguments, {} for none."""
        return once(self, self._start)

    def _start(self, attempt: IdempotentRequest) -> Any:
        token, arguments = self.token, self._arguments()
        who: dict[str, Any] = {"actor": f"token {token.prefix}", "address": of_client(self.request), "token": token}
        try:
            require_for(token, catalog.read(self.operation, arguments))
            job, is_new = jobs.get_or_start(self.operation, arguments, now=utc_now, attempt=attempt.new_id(0), **who)
        except QuotaExceeded:
            raise
        except OrbError as problem:
            raise Problem(BAD, errors=[(ROOT, str(problem))]) from problem
        headers = {"Location": f"{JOBS}/{job.pk}"}
        return Response(_shown(job), status=202, headers=headers if is_new else headers | {WAITED: "true"})

    def _arguments(self) -> dict[str, Any]:
        """Return what was sent, by the names that the operation has for it. Raises Problem."""
        names = _names(catalog.OPERATIONS[self.operation])
        given = self.object_of(self.body())
        unknown = [(step(ROOT, name), "is not known here") for name in given if name not in names]
        if unknown:
            raise Problem(BAD, errors=unknown)
        return {names[name]: value for name, value in given.items()}


class OneJob(OrbView):
    """A job: how far it is, and what came of it."""

    scopes = _OPERATE

    @extend_schema(operation_id="getJob", responses={200: shape("Job")})
    def get(self, request: Request, job: int) -> Any:  # noqa: ARG002 -- Django's signature
        """Follow a job."""
        return Response(_shown(job_for(self.token, job)))


class Cancel(OrbView):
    """The end of a job that is wanted."""

    scopes = _OPERATE

    @extend_schema(operation_id="cancelJob", request=None, responses={202: shape("Job")})
    def post(self, request: Request, job: int) -> Any:  # noqa: ARG002 -- Django's signature
        """Cancel a job that waits or runs; one that runs ends where it can be gone on with (409 where it ended)."""
        job_for(self.token, job)
        try:
            return Response(_shown(jobs.cancel(job, now=utc_now)), status=202)
        except OrbError as problem:
            raise Problem(CONFLICT, str(problem)) from problem


def view_of(name: str) -> type[Start]:
    """Return the resource that starts an operation."""
    kind = catalog.OPERATIONS[name]
    declared = {"scopes": {"POST": kind.scope}, "needs_every_user": not kind.takes_one_user}
    view = type(f"Start{kind.__name__}", (Start,), {"operation": name, "__doc__": kind.__doc__, **declared})
    described_as = extend_schema(
        operation_id=name,
        description=f"{kind.__doc__} {_needs(kind)}",
        parameters=[IDEMPOTENT, _WAITED],
        request={"application/json": described(f"{kind.__name__}Arguments", _arguments_of(kind))},
        responses={202: shape("Job")},
    )
    return extend_schema_view(post=described_as)(view)


def _needs(kind: type[Operation]) -> str:
    """Return what an operation needs of a token, as text."""
    reach = (
        "With `user`, a token for that user suffices; else one for every user is needed."
        if (kind.takes_one_user)
        else "A token for every user is needed."
    )
    more = "".join(f" With `{_camel(name)}`, the scope `admin` is needed." for name in kind.admin_when)
    return f"{reach}{more} An equal job of the same token that still waits is answered instead of a new one."


def _arguments_of(kind: type[Operation]) -> dict[str, Any]:
    """Return the schema of an operation's arguments, from its declaration."""
    schema = msgspec.json.schema_components([kind])[1][kind.__name__]
    names = [domain.name for domain in registered()]
    given = {_camel(name): field(one) for name, one in schema["properties"].items()}
    given["only"] = {"type": ["array", "null"], "items": {"type": "string", "enum": names}}
    required = [_camel(name) for name in schema["required"]]
    return {"type": "object", "properties": given, "required": required, "additionalProperties": False}


def _names(kind: type[Operation]) -> dict[str, str]:
    """Return the arguments of an operation by their names in the API."""
    return {_camel(name): name for name in kind.__struct_encode_fields__}


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
