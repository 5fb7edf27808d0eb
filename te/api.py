"""The REST resources of Te: reflections and sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from typing_extensions import override

from orbsite.api.idempotency import IdempotentRequest, once
from orbsite.api.merge_patch import patched
from orbsite.api.pagination import PageRequest
from orbsite.api.problems import BAD, CONFLICT, Problem
from orbsite.api.schema import (
    CLEAN_TEXT,
    IDEMPOTENT,
    IF_MATCH,
    IF_NONE_MATCH,
    PAGED,
    described,
    fields_of,
    list_of,
    page_of,
    shape,
)
from orbsite.api.views import OrbView, fetched, found
from orbsite.search.query import read
from orbsite.search.search import Searched
from orbsite.storage.base.store import Store
from orbsite.storage.clock import utc_now
from orbsite.storage.encoding.timestamps import spell
from orbsite.storage.errors import SearchOff
from orbsite.storage.findings import ROOT, Finding, step
from orbsite.storage.records.record import R
from orbsite.storage.statistics.sessions import Group, groups
from te.domain import DOMAIN
from te.records import Reflection
from te.reflection_log import DEFAULT_SESSION, ReflectionLog

MOST_AT_ONCE = 1000
"""The maximum number of reflections that one request creates."""
_TAKEN = "The user already has a reflection with this id. Choose another id, or change it with PUT or PATCH."
_NEW = fields_of(Reflection, ("input", "output"), without=("userId",))
_FROM_ADDRESS = ("userId", "id")
_TIME = {"type": "string", "format": "date-time"}
described(
    "Session",
    {
        "type": "object",
        "required": ["sessionId", "reflections", "newest"],
        "properties": {"sessionId": shape("Id"), "reflections": {"type": "integer", "minimum": 1}, "newest": _TIME},
        "additionalProperties": False,
    },
)
_FILTERS = [
    OpenApiParameter("session", CLEAN_TEXT, description="Only reflections of this session."),
    OpenApiParameter("tag", CLEAN_TEXT, description="Only reflections with this tag."),
    OpenApiParameter("from", _TIME, description="Only reflections created at this time or later."),
    OpenApiParameter("to", _TIME, description="Only reflections created before this time."),
    OpenApiParameter("text", CLEAN_TEXT, description="Only reflections whose texts contain this text, ignoring case."),
]
_SEARCH = OpenApiParameter(
    "search",
    CLEAN_TEXT,
    description='Only reflections that contain all these words. Quote a "phrase"; put - before a word to exclude it. '
    "Case and accents are ignored, and the last word matches as a prefix. Only the SQL store supports it (else 400).",
)


class TeView(OrbView):
    """The base class of Te's resources."""

    domain = DOMAIN

    @property
    def log(self) -> ReflectionLog:
        """The reflection log in the configured store."""
        return ReflectionLog(self.store)

    def current(self, user: str, reflection: str) -> Reflection | None:
        """Return a user's reflection, or None. Raises RecordUnreadable if the stored item cannot be decoded."""
        return fetched(self.store, Reflection, (user, reflection), user)

    @override
    def record(self, kind: type[R], value: Any, path: str = ROOT) -> R:
        """Return the record that a JSON value describes; a reflection without a session is in the session "default".

        Raises Problem with the path of each error.
        """
        if kind is Reflection and isinstance(value, dict) and value.get("sessionId") is None:
            value = {**value, "sessionId": DEFAULT_SESSION}
        return super().record(kind, value, path)

    def page_of_reflections(self, request: Request, where: dict[str, str]) -> Any:
        """Return a page of reflections with these field values that match the query, newest first."""
        query = request.query_params
        since, until = self.instant("from"), self.instant("to")
        tag, text, search = query.get("tag"), query.get("text"), query.get("search")
        times = [one and spell(one) for one in (since, until)]
        words = {} if search is None else {"search": search}
        wanted = PageRequest.of(request, Reflection, {**where, "tag": tag, "text": text, "times": times, **words})

        def page() -> Any:
            store = self.store if search is None else self._searched(search, where)
            return wanted.page_of(store, where, since=since, until=until, tag=tag, text=text)

        return self.may_be_stale(page)

    def _searched(self, search: str, where: dict[str, str]) -> Store:
        """Return a store that contains only the results of a search. Raises Problem if the store is not SQL."""
        if self.store.database is None:
            message = "is supported by the SQL store only, and another store is configured; use the parameter text"
            raise Problem(BAD, errors=[("search", message)])
        try:
            return Searched(self.store.domain, self.store.database, Reflection, read(search), where)
        except SearchOff as problem:
            raise Problem(BAD, errors=[("search", str(problem))]) from problem

    def instant(self, name: str) -> datetime | None:
        """Return the timestamp of a query parameter, or None if it is missing. Raises Problem."""
        text = self.request.query_params.get(name)
        return None if text is None else self.moment_of_query(text, name)


class Reflections(TeView):
    """The reflections of a user."""

    parameters = ("session", "tag", "from", "to", "text", "search", "limit", "cursor")

    @extend_schema(
        operation_id="listReflections",
        parameters=[*_FILTERS, _SEARCH, *PAGED, IF_NONE_MATCH],
        responses={200: page_of(Reflection)},
    )
    def get(self, request: Request, user: str) -> Any:
        """List the reflections of a user, newest first."""
        session = request.query_params.get("session")
        return self.page_of_reflections(
            request, {"user_id": user} | ({} if session is None else {"session_id": session})
        )

    @extend_schema(
        operation_id="createReflections",
        parameters=[IDEMPOTENT],
        request={"application/json": {"oneOf": [_NEW, {"type": "array", "items": _NEW, "maxItems": MOST_AT_ONCE}]}},
        responses={201: {"oneOf": [shape(Reflection), list_of(Reflection, MOST_AT_ONCE)]}},
    )
    def post(self, request: Request, user: str) -> Any:
        """Create one reflection or a list of reflections, all or nothing. Existing ones are not changed (409).

        Defaults: a new `id`, the `sessionId` "default", no `tags`, and the current time as `createdAt`.
        """
        return once(self, lambda attempt: self._create(attempt, user), can_replay=True)

    def _create(self, attempt: IdempotentRequest, user: str) -> Any:
        given = self.body()
        if not isinstance(given, list):
            new = self._new(attempt, user, given, 0, ROOT)
            return self.created(new, taken=_TAKEN, is_replay=attempt.is_replay)
        if len(given) > MOST_AT_ONCE:
            raise Problem(BAD, errors=[(ROOT, f"has {len(given)} items; send at most {MOST_AT_ONCE} at once")])
        created = self.each(given, lambda item, number, path: self._new(attempt, user, item, number, path))
        if not attempt.is_replay:
            self._refuse_taken(created)
            self.store.put(created, free=True)
        return self.shown_list(created, 201, Location=self.request.path)

    def _new(self, attempt: IdempotentRequest, user: str, value: Any, number: int, path: str) -> Reflection:
        given = self.object_of(value, path)
        missing = {"id": attempt.new_id(number), "tags": [], "createdAt": spell(attempt.moment)}
        where = {"userId": self.owner_of(given, user, path)}
        return self.record(Reflection, {**missing, **given, **where}, path)

    def _refuse_taken(self, created: list[Reflection]) -> None:
        """Raise Problem for ids that occur twice in the list, or that another reflection of the user has."""
        keys = [one.key for one in created]
        places = {key: number for number, key in reversed(list(enumerate(keys)))}
        twice = [number for number, key in enumerate(keys) if places[key] != number]
        if twice:
            wrong = [(_path_of_id(number), "stands in the list twice") for number in twice]
            raise Problem(CONFLICT, "Some ids occur more than once in the list; nothing was created.", errors=wrong)
        stored = self.store.fetch(Reflection, keys)
        taken = [places[one.key] for one in created if stored.get(one.key, one) != one]
        if taken:
            wrong = [(_path_of_id(number), "is taken") for number in taken]
            raise Problem(CONFLICT, "Some ids belong to existing reflections; nothing was created.", errors=wrong)


class OneReflection(TeView):
    """One reflection of a user."""

    @extend_schema(operation_id="getReflection", parameters=[IF_NONE_MATCH], responses={200: shape(Reflection)})
    def get(self, request: Request, user: str, reflection: str) -> Any:
        """Return one reflection of a user."""
        return self.shown(found(self.current(user, reflection)))

    @extend_schema(
        operation_id="saveReflection",
        parameters=[IF_MATCH],
        request={"application/json": fields_of(Reflection, ("input", "output"), _FROM_ADDRESS)},
        responses={200: shape(Reflection), 201: shape(Reflection)},
    )
    def put(self, request: Request, user: str, reflection: str) -> Any:
        """Create a reflection or replace it completely. A replacement without `sessionId` or `createdAt` keeps them."""
        given = self.object_of(self.body())
        current = self.current(user, reflection)
        session = DEFAULT_SESSION if current is None else current.session_id
        moment = utc_now() if current is None else current.created_at
        fixed = {"id": self.same(given, "id", reflection), "userId": self.owner_of(given, user)}
        missing: dict[str, Any] = {"tags": [], "createdAt": spell(moment), "sessionId": session}
        return self.saved(self.record(Reflection, {**missing, **given, **fixed}), current)

    @extend_schema(
        operation_id="changeReflection",
        parameters=[IF_MATCH],
        request={"application/merge-patch+json": fields_of(Reflection, without=_FROM_ADDRESS)},
        responses={200: shape(Reflection)},
    )
    def patch(self, request: Request, user: str, reflection: str) -> Any:
        """Change parts of a reflection (JSON Merge Patch)."""
        fixed = {"id": reflection, "userId": user}
        return self.shown(patched(self, request, lambda: self.current(user, reflection), fixed=fixed))

    @extend_schema(operation_id="deleteReflection", parameters=[IF_MATCH], responses={204: None})
    def delete(self, request: Request, user: str, reflection: str) -> Any:
        """Delete one reflection of a user."""
        return self.removed(self.current(user, reflection))


class Sessions(TeView):
    """The sessions in which a user has reflections."""

    parameters = ("limit", "cursor")

    @extend_schema(operation_id="listSessions", parameters=[*PAGED, IF_NONE_MATCH], responses={200: page_of("Session")})
    def get(self, request: Request, user: str) -> Any:
        """List the sessions of a user by id, with the number of reflections and the time of the newest one."""
        wanted = PageRequest.of(request, Group, {"user": user, "sessions": True})
        listed, unreadable = self.may_be_stale(lambda: self._page_of_sessions(wanted, user))
        return wanted.page(listed, [_session(one) for one in listed], unreadable=unreadable)

    def _page_of_sessions(self, wanted: PageRequest, user: str) -> tuple[list[Group], list[Finding]]:
        """Return a user's sessions, one more than the page shows, and the findings for undecodable reflections."""
        unreadable = list[Finding]()
        bounds: Any = {"after": wanted.after, "limit": wanted.limit + 1}
        return groups(self.store, Reflection, user, **bounds, findings=unreadable), unreadable


class OneSession(TeView):
    """The reflections of a user in one session."""

    parameters = ("tag", "from", "to", "text", "limit", "cursor")

    @extend_schema(
        operation_id="listSessionReflections",
        parameters=[*_FILTERS[1:], *PAGED, IF_NONE_MATCH],
        responses={200: page_of(Reflection)},
    )
    def get(self, request: Request, user: str, session: str) -> Any:
        """List the reflections of a user in a session, newest first."""
        return self.page_of_reflections(request, {"user_id": user, "session_id": session})

    @extend_schema(operation_id="deleteSessionReflections", responses={204: None})
    def delete(self, request: Request, user: str, session: str) -> Any:
        """Delete the reflections of a user in a session. Those of other users are not changed."""
        if not self.log.delete_session(session, user):
            raise Http404
        return Response(status=204)


def _session(group: Group) -> dict[str, Any]:
    return {"sessionId": group.name, "reflections": group.number, "newest": spell(group.newest)}


def _path_of_id(number: int) -> str:
    return step(step(ROOT, number), "id")
