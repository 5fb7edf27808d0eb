"""Where a page leads when it is done: to an address of this very host, or to the first page."""

from __future__ import annotations

from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme


def safe_next(request: HttpRequest) -> str:
    """Return where to go on, as `next` says; never to another host."""
    to = request.POST.get("next") or request.GET.get("next") or ""
    here = url_has_allowed_host_and_scheme(to, {request.get_host()}, require_https=request.is_secure())
    return to if here and to.startswith("/") else reverse("admin:index")
