"""Handlers for errors outside of views: problem details for the API, HTML pages for the admin."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.views import defaults

from orbsite.api.problems import BAD, FORBIDDEN, MISSING, Problem, failed


def handler400(request: HttpRequest, exception: Exception) -> Any:
    """Return the response to a malformed request."""
    return Problem(BAD).response() if _is_of_the_api(request) else defaults.bad_request(request, exception)


def handler403(request: HttpRequest, exception: Exception) -> Any:
    """Return the response to a forbidden request."""
    return Problem(FORBIDDEN).response() if _is_of_the_api(request) else defaults.permission_denied(request, exception)


def handler404(request: HttpRequest, exception: Exception) -> Any:
    """Return the response to an unknown address."""
    return Problem(MISSING).response() if _is_of_the_api(request) else defaults.page_not_found(request, exception)


def handler500(request: HttpRequest) -> Any:
    """Return the response to an unexpected error."""
    return failed(request) if _is_of_the_api(request) else defaults.server_error(request)


def _is_of_the_api(request: HttpRequest) -> bool:
    return not request.path.startswith("/admin")
