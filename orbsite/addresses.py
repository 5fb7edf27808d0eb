"""Whose address a request comes from: told by the connection, or by the proxies that the settings count."""

from __future__ import annotations

from ipaddress import ip_address

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle


def of_client(request: HttpRequest | Request) -> str:
    """Return the address of the client; `X-Forwarded-For` counts for as many proxies as ORB_PROXIES says.

    REST framework counts them from the right, and so believes nobody else.
    """
    asked = request if isinstance(request, Request) else Request(request)
    return str(BaseThrottle().get_ident(asked) or "unknown")


def as_ip(request: HttpRequest | Request) -> str | None:
    """Return the address of the client as databases take it; None where there is none, as behind a local socket."""
    try:
        return str(ip_address(of_client(request)))
    except ValueError:
        return None
