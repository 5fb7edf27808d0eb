"""Upload tickets: they prove, before a large request body is read, that its form came from this site and session."""

from __future__ import annotations

from copy import copy
from typing import Any

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponseForbidden
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.crypto import constant_time_compare, salted_hmac

SMALL_BODY = 64 * 1024
"""The number of bytes of a body that is read without a ticket."""
TICKET = "ticket"
_SALT = "orbsite.console.bodies"


def length_of(request: HttpRequest) -> int:
    """Return the Content-Length of a request in bytes, or 0 if the header is missing or not a number."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    return int(length) if length.isdecimal() else 0


def ticket_for(request: HttpRequest) -> str:
    """Return the ticket for the action URL of an upload form; it is valid only for this session."""
    return TimestampSigner(salt=_SALT).sign(_of_session(request))


def forgery(request: HttpRequest) -> Any:
    """Return a response that refuses a possible cross-site request, or None if the request has valid proof.

    A valid X-CSRFToken header is proof, and so is a ticket. The token in the form is checked later as usual.
    """
    if _has_ticket(request):
        return None
    checked = copy(request)
    checked.method = "PUT"  # for PUT, Django looks for the token only in the header
    return CsrfViewMiddleware(lambda _: HttpResponseForbidden()).process_view(checked, forgery, (), {})


def _has_ticket(request: HttpRequest) -> bool:
    try:
        signed = TimestampSigner(salt=_SALT).unsign(request.GET.get(TICKET, ""), max_age=settings.SESSION_COOKIE_AGE)
    except BadSignature:
        return False
    return constant_time_compare(signed, _of_session(request))


def _of_session(request: HttpRequest) -> str:
    return salted_hmac(_SALT, request.session.session_key or "", algorithm="sha256").hexdigest()
