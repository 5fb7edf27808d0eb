"""The base class of all resources.

    class ProfileView(OrbView):
        domain = DOMAIN
        parameters = ("tag",)  # the allowed query parameters

        def get(self, request: Request, user: str, mode: str) -> Response: ...

An `OrbView` requires a token (401), hides other users' data (404, if the route has `<id:user>`), requires the scope of
the method (403; `scopes` changes the scopes, `needs_every_user` requires a token for every user), limits the request
rate (429), and accepts only the methods that are defined (405). `self.token` is the token, `self.store` the configured
store, `self.body()` the strictly parsed body, and `self.shown(record)` the response for one record with its ETag, 304
included. Errors are raised, see `problems`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Any, ClassVar, TypeVar, cast
from uuid import uuid4

import msgspec
from django.conf import settings
from django.http import Http404
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from typing_extensions import override

from orbsite.api.authentication import TokenAuthentication
from orbsite.api.etags import etag, expected, is_unchanged, must_be_free, not_modified
from orbsite.api.parsers import MergePatchParser, StrictJSONParser, is_chunked, stream_of_chunks
from orbsite.api.permissions import TokenMay
from orbsite.api.problems import BAD, CHANGED, CONFLICT, MOST_ERRORS, Problem, handler
from orbsite.api.renderers import JSONRenderer, as_json, encoded
from orbsite.api.schema import OrbSchema
from orbsite.api.throttling import TokenThrottle
from orbsite.conf import app_settings
from orbsite.models.api_tokens import Token
from orbsite.runtime.json_logging import request_id
from orbsite.storage.base.store import Store
from orbsite.storage.encoding.json_parser import UNCLEAN
from orbsite.storage.encoding.timestamps import NO_ZONE, parse
from orbsite.storage.encoding.url_ids import segment
from orbsite.storage.errors import RecordUnreadable
from orbsite.storage.findings import ROOT, Finding, Severity, step
from orbsite.storage.postgresql.replicas import parse as parse_position
from orbsite.storage.postgresql.replicas import position, read_from_replica, reading_from, spell
from orbsite.storage.records.decoder import read
from orbsite.storage.records.domain import Domain
from orbsite.storage.records.record import Key, R, Record
from orbsite.storage.records.validator import declarations, name_of
from orbsite.stores import open_store

T = TypeVar("T")

READS = {"GET": "read", "HEAD": "read"}
WRITES = {"POST": "write", "PUT": "write", "PATCH": "write", "DELETE": "write"}

_ANY = "*/*"
_MOST_COUNTED = 10_000
_NOT_ALL_CHECKED = "Too many items break a rule; the remaining items were not checked."

POSITION = "Orb-Position"
"""The header with a place in the database's log: of the last response to the client, or of this one."""

_opened: dict[tuple[str, str | None], Store] = {}
"""The SQL stores by the domain and the replica; None is the primary."""


class _Negotiation(DefaultContentNegotiation):
    """Chooses the media type by the header Accept alone, and never by a query parameter."""

    class settings:  # noqa: N801 -- the framework's name
        URL_FORMAT_OVERRIDE = None

    @override
    def select_renderer(self, request: Any, renderers: Any, format_suffix: str | None = None) -> Any:
        """Return the renderer and its media type: the first one at once for what most clients accept."""
        first = renderers[0]
        if not format_suffix and request.META.get("HTTP_ACCEPT", _ANY) in (_ANY, first.media_type):
            return first, first.media_type
        return super().select_renderer(request, renderers, format_suffix)


class OrbView(APIView):
    """The base class of a resource: authentication, permissions, strict input and conditional writes."""

    authentication_classes = (TokenAuthentication,)
    permission_classes = (TokenMay,)
    throttle_classes = (TokenThrottle,)
    renderer_classes: tuple[type[JSONRenderer], ...] = (JSONRenderer,)
    parser_classes = (StrictJSONParser, MergePatchParser)
    # The framework's other defaults, which the settings of another project may have replaced.
    content_negotiation_class = _Negotiation
    versioning_class = None
    metadata_class = None
    schema = OrbSchema()

    domain: ClassVar[Domain | None] = None
    """The domain whose store the resource uses."""
    scopes: ClassVar[dict[str, str]] = READS | WRITES
    """The scope that each method requires."""
    needs_every_user: ClassVar[bool] = False
    """Whether the resource requires a token for every user."""
    parameters: ClassVar[tuple[str, ...]] = ()
    """The allowed query parameters of GET and HEAD."""
    _is_from_replica = False
    """Whether a replica has given what the response shows."""

    @property
    def token(self) -> Token:
        """The token of the request."""
        token: Any = self.request.auth
        return cast(Token, token)

    @property
    def store(self) -> Store:
        """The configured store of the domain. Raises StoreUnavailable."""
        if self.domain is None:
            raise LookupError(f"{type(self).__name__} names no domain")
        return opened(self.domain)

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Respond to a request. It has an id also where the middleware of our own server does not give it one."""
        reset = None if request_id.get() else request_id.set(str(uuid4()))
        try:
            return super().dispatch(request, *args, **kwargs)
        finally:
            if reset is not None:
                request_id.reset(reset)

    def get_exception_handler(self) -> Any:
        """Return the handler that makes every error a problem."""
        return handler

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Forbid every cache to keep a response, because it has the data of a user."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer.setdefault("Cache-Control", "no-store")
        if answer.status_code < HTTPStatus.BAD_REQUEST and not self._is_from_replica:
            reached = position()
            if reached is not None:
                answer[POSITION] = spell(reached)
        return answer

    def may_be_stale(self, act: Callable[[], T]) -> T:
        """Return what an action reads, from a read replica if the request says what it has to show. Raises Problem.

        A request says so by the header Orb-Position of an earlier response; others read from the primary.
        """
        sent = self.request.headers.get(POSITION)
        if sent is None:
            return act()
        after = parse_position(sent)
        if after is None:
            raise Problem(BAD, errors=[("header", f"{POSITION} is not one of an earlier response, such as 0/16B3748")])
        read, self._is_from_replica = read_from_replica(act, after)
        return read

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse undefined methods before authentication, and unknown query parameters after it."""
        method = (request.method or "").lower()
        if method not in self.http_method_names or not hasattr(self, method) or method == "options":
            self.http_method_not_allowed(request, *args, **kwargs)
        super().initial(request, *args, **kwargs)
        self._check_query(request)

    @property
    def allowed_methods(self) -> list[str]:
        """The defined methods without OPTIONS, for the header Allow."""
        return [name for name in super().allowed_methods if name != "OPTIONS"]

    def body(self) -> Any:
        """Return the parsed JSON body. Raises Problem."""
        if not hasattr(self, "_body"):
            self._body = self._received()
        return self._body

    def _received(self) -> Any:
        request = self.request
        if is_chunked(request):
            parser = self.get_content_negotiator().select_parser(request, self.get_parsers())
            if parser is None:
                raise UnsupportedMediaType(request.content_type)
            return parser.parse(stream_of_chunks(request), request.content_type, {"request": request})
        if request.META.get("CONTENT_LENGTH") in (None, "", "0"):
            raise Problem(BAD, "The body is empty.", errors=[(ROOT, "is empty")])
        return request.data

    def record(self, kind: type[R], value: Any, path: str = ROOT) -> R:
        """Return the record that a JSON value describes. A time without a zone is an error here, not a warning.

        Raises Problem with the path of each error.
        """
        refuse_long_lists(kind, value, path)
        reading = read(kind, value, path)
        wrong = [one for one in reading.findings if one.severity is Severity.ERROR or one.message.endswith(NO_ZONE)]
        if reading.record is None or wrong:
            raise Problem(BAD, errors=wrong)
        return reading.record

    def each(self, values: Iterable[Any], act: Callable[[Any, int, str], R]) -> list[R]:
        """Return the records that `act` makes of each value, its index and its path. Raises Problem with all errors."""
        records, wrong, number_wrong = list[R](), list[tuple[str, str]](), 0
        for number, value in enumerate(values):
            try:
                records.append(act(value, number, step(ROOT, number)))
            except Problem as problem:
                wrong += problem.errors[: max(0, MOST_ERRORS - len(wrong))]
                number_wrong += problem.number_of_errors
                if number_wrong > _MOST_COUNTED:  # stop early: nearly every item is invalid
                    raise Problem(BAD, _NOT_ALL_CHECKED, errors=wrong, number_of_errors=number_wrong) from problem
        if wrong:
            raise Problem(BAD, errors=wrong, number_of_errors=number_wrong)
        return records

    def moment(self, text: str, path: str) -> datetime:
        """Return the timestamp that a text contains. Raises Problem if it is not valid or has no zone."""
        try:
            instant, remarks = parse(text)
        except ValueError as problem:
            raise Problem(BAD, errors=[(path, str(problem))]) from problem
        if NO_ZONE in remarks:
            raise Problem(BAD, errors=[(path, "the time names no zone")])
        return instant

    def moment_of_query(self, text: str, name: str) -> datetime:
        """Return the timestamp of a query parameter. Raises Problem, with a hint if an unescaped `+` became a space."""
        try:
            return self.moment(text, name)
        except Problem as problem:
            before, space, after = text.rpartition(" ")
            if space and _is_moment(f"{before}+{after}"):
                message = f"{problem.errors[0][1]}; a + in an address means a space: write it as %2B"
                raise Problem(BAD, errors=[(name, message)]) from problem
            raise

    def object_of(self, value: Any, path: str = ROOT) -> dict[str, Any]:
        """Return the value if it is a JSON object. Raises Problem for any other value."""
        if not isinstance(value, dict):
            raise Problem(BAD, errors=[(path, f"expected an object, got {name_of(value)}")])
        return value

    def owner_of(self, given: dict[str, Any], user: str, path: str = ROOT) -> str:
        """Return the user of the route. Raises Problem if the body names another user."""
        return self.same(given, "userId", user, path)

    def same(self, given: dict[str, Any], name: str, wanted: str, path: str = ROOT) -> str:
        """Return the route's value of a member. Raises Problem if the body has another value."""
        if given.get(name, wanted) != wanted:
            raise Problem(BAD, errors=[(step(path, name), "is not what the address says")])
        return wanted

    def shown(self, record: Record, status: int = 200, **headers: str) -> Any:
        """Return the response that shows a record, with its ETag; 304 if the client has that version."""
        tag = etag(record)
        if self.request.method in READS and is_unchanged(self.request, tag):
            return not_modified(tag)
        return Response(as_json(record), status=status, headers={"ETag": tag, **headers})

    def shown_list(self, records: Iterable[Record], status: int = 200, **headers: str) -> Any:
        """Return the response that shows a list of records."""
        return Response(msgspec.Raw(msgspec.json.encode([encoded(one) for one in records])), status, headers=headers)

    def created(self, record: Record, *, taken: str, is_replay: bool = False) -> Any:
        """Add a record, and return the response that shows it. Raises Problem with the text `taken` if the key is used.

        A replay adds nothing, because the first request has added the record.
        """
        if not is_replay:
            current, is_new = self.store.add(record)
            if not is_new and current != record:
                raise Problem(CONFLICT, taken)
        return self.shown(record, 201, Location=f"{self.request.path}/{segment(record.key[-1])}")

    def saved(self, record: Record, current: Record | None, *, new: int = 201) -> Any:
        """Replace the current record if the conditions of the request hold, and return the response.

        Raises Problem, and Conflict if another request has changed the record in between.
        """
        if must_be_free(self.request):
            record, is_new = self.store.add(record)
            if not is_new:
                raise Problem(CHANGED)
            return self.shown(record, new)
        self.store.put([record], expect=expected(self.request, current))
        return self.shown(record, 200 if current else new)

    def removed(self, current: Record | None) -> Any:
        """Delete the current record if the conditions of the request hold, and return the response.

        Raises Problem and Http404, and Conflict if another request has changed the record in between.
        """
        record = found(current)
        expect = expected(self.request, record)
        if not self.store.delete(type(record), [record.key], user_id=record.user_id, expect=expect):
            raise Http404
        return Response(status=204)

    def _check_query(self, request: Request) -> None:
        allowed = self.parameters if request.method in READS else ()
        wrong = []
        for name, values in request.query_params.lists():
            if name not in allowed:
                wrong.append(("query", "has a parameter that is not known here"))
            elif len(values) > 1:
                wrong.append((name, "stands in the query more than once"))
            elif UNCLEAN.search(values[0]):
                wrong.append((name, "holds a NUL character"))
        if wrong:
            raise Problem(BAD, errors=wrong)


def refuse_long_lists(kind: type[Record], value: Any, path: str) -> None:
    """Raise Problem if a list of a record has more items than ORB_API_MAX_ITEMS, before any item is decoded."""
    most = settings.ORB_API_MAX_ITEMS
    lists = [(one.name, value.get(one.name)) for one in declarations(kind)] if isinstance(value, dict) else []
    wrong = [(step(path, name), len(items)) for name, items in lists if isinstance(items, list) and len(items) > most]
    if wrong:
        limit = "items; a list has at most {most} (ORB_API_MAX_ITEMS)"
        raise Problem(BAD, errors=[(place, f"has {number} {limit.format(most=most)}") for place, number in wrong])


def opened(domain: Domain) -> Store:
    """Return the configured store. A SQL store is opened once; later failures show when it is used."""
    if app_settings.persistence() is not app_settings.Persistence.SQL:
        return open_store(domain)
    place = domain.name, reading_from()
    if place not in _opened:
        _opened[place] = open_store(domain)
    return _opened[place]


def found(record: R | None) -> R:
    """Return the record. Raises Http404 for None."""
    if record is None:
        raise Http404
    return record


def _is_moment(text: str) -> bool:
    try:
        _, remarks = parse(text)
    except ValueError:
        return False
    return NO_ZONE not in remarks


def fetched(store: Store, kind: type[R], key: Key, user_id: str) -> R | None:
    """Return a user's record, or None. Raises RecordUnreadable if the stored item cannot be decoded."""
    findings = list[Finding]()
    record = store.fetch(kind, [key], user_id=user_id, findings=findings).get(key)
    if record is None and findings:
        raise RecordUnreadable(findings[0].message)
    return record
