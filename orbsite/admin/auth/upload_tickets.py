"""What a large body needs before anything reads it: a sign that its form came from here, for this session."""

from __future__ import annotations

from copy import copy
from typing import Any

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponseForbidden
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.crypto import constant_time_compare, salted_hmac

SMALL_BODY = 64 * 1024
"""How many bytes may be read of anybody."""
TICKET = "ticket"
_SALT = "orbsite.console.bodies"


def length_of(request: HttpRequest) -> int:
    """Return how many bytes a request says that its body has."""
    told = request.META.get("CONTENT_LENGTH") or "0"
    return int(told) if told.isdecimal() else 0


def ticket_for(request: HttpRequest) -> str:
    """Return what the address of an upload form's action carries: it is good for this session alone."""
    return TimestampSigner(salt=_SALT).sign(_of_session(request))


def forgery(request: HttpRequest) -> Any:
    """Return the answer to a request whose headers and address do not tell that its form came from here, or None.

    The header X-CSRFToken tells it, and so does a ticket; the token in the form is looked at later as always.
    """
    if _has_ticket(request):
        return None
    looked_at = copy(request)
    looked_at.method = "PUT"  # for which the token is looked for in the header alone
    return CsrfViewMiddleware(lambda _: HttpResponseForbidden()).process_view(looked_at, forgery, (), {})


def _has_ticket(request: HttpRequest) -> bool:
    try:
        told = TimestampSigner(salt=_SALT).unsign(request.GET.get(TICKET, ""), max_age=settings.SESSION_COOKIE_AGE)
    except BadSignature:
        return False
    return constant_time_compare(told, _of_session(request))


def _of_session(request: HttpRequest) -> str:
    return salted_hmac(_SALT, request.session.session_key or "", algorithm="sha256").hexdigest()
