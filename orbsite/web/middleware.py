"""Middleware: request ids, request logging, security headers, and limits on methods and body sizes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from uuid import uuid4

from csp.constants import HEADER
from csp.middleware import CSPMiddleware
from csp.utils import build_policy
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed

from orbsite.admin.auth.upload_tickets import SMALL_BODY, length_of
from orbsite.api.parsers import ends_by_itself
from orbsite.api.problems import LENGTH, METHOD, Problem
from orbsite.runtime.json_logging import request_id

logger = logging.getLogger("orbsite.requests")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_KEPT_PRIVATE = ("/api/", "/admin/", "/metrics")
_FOR_STAFF, _FOR_TOKENS = ("/admin/", "/api/"), ("/api/v1/", "/metrics")
_TAKES_FILES = "/admin/console/operations/"
_TELLS_ITS_METHODS = ("/api/v1/users/", "/api/v1/operations/", "/metrics")

_CSP_OVERRIDES = ("_csp_exempt", "_csp_config", "_csp_update", "_csp_replace")
"""The attributes that the decorators of django-csp set on a response."""

Next = Callable[[HttpRequest], HttpResponseBase]


def tracked(following: Next) -> Next:
    """Give each request an id, and log one line with its route. The path is not logged, because it has user ids."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        mark = str(uuid4())
        reset = request_id.set(mark)
        began = time.perf_counter()
        try:
            answer = following(request)
            answer["X-Request-ID"] = mark
            match = request.resolver_match
            logger.info(
                "request",
                extra={
                    "method": request.method if request.method in METHODS else "other",
                    "route": match.route if match else "",
                    "status": answer.status_code,
                    "ms": round((time.perf_counter() - began) * 1000, 1),
                },
            )
            return answer
        finally:
            request_id.reset(reset)

    return respond


class ContentSecurityPolicy(CSPMiddleware):
    """Adds the Content-Security-Policy, which is built once for all responses without a policy of their own."""

    _made: str | None = None

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add the header Content-Security-Policy to a response."""
        if settings.DEBUG or HEADER in response or any(hasattr(response, name) for name in _CSP_OVERRIDES):
            answer: HttpResponseBase = super().process_response(request, response)
            return answer
        if self._made is None:
            self._made = build_policy(**asdict(self.get_policy_parts(request=request, response=response)))
        response[HEADER] = self._made
        return response


def strict(following: Next) -> Next:
    """Answer unknown methods, such as TRACE, with 405, limit body sizes, and forbid caching of private responses."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        is_known = request.method in METHODS or request.path.startswith(_TELLS_ITS_METHODS)
        if "HTTP_TRANSFER_ENCODING" in request.META and not _takes_chunks(request):
            return Problem(LENGTH).response()  # without a length, the response closes the connection
        if _is_too_large(request):
            return HttpResponse("The request is larger than any form here. Nothing was done.", "text/plain", status=413)
        answer = following(request) if is_known else HttpResponseNotAllowed(METHODS)
        if isinstance(answer, HttpResponseNotAllowed) and not request.path.startswith("/admin/"):
            answer = Problem(METHOD, headers={"Allow": answer["Allow"]}).response()
        if request.path.startswith(_KEPT_PRIVATE):
            answer["Cache-Control"] = "no-store"
        return answer

    return respond


def authorised(following: Next) -> Next:
    """Refuse a body above SMALL_BODY from users who are not signed in, before it is read.

    The API checks the token before it reads a body. The API documentation under /api/ is for staff, like the admin.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        is_of_staff = request.path.startswith(_FOR_STAFF) and not request.path.startswith(_FOR_TOKENS)
        if is_of_staff and length_of(request) > SMALL_BODY and not admin.site.has_permission(request):
            return HttpResponse("Sign in first. The request body was not read.", "text/plain", status=403)
        return following(request)

    return respond


def _takes_chunks(request: HttpRequest) -> bool:
    return request.path.startswith(_FOR_TOKENS) and ends_by_itself(request)


def _is_too_large(request: HttpRequest) -> bool:
    """Tell whether a request to the admin is larger than a form may be, before it is read and fills the disk.

    Only operations accept files, from users with a session; they have a limit of their own.
    """
    takes_files = request.path.startswith(_TAKES_FILES) and settings.SESSION_COOKIE_NAME in request.COOKIES
    return request.path.startswith("/admin/") and not takes_files and length_of(request) > settings.ORB_API_MAX_BYTES
