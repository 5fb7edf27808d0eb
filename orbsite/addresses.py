"""Whose address a request comes from: told by the connection, or by the proxies that the settings count."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle


class _Identity(BaseThrottle):
    """REST framework's way to tell, which counts proxies from the right and so believes nobody else."""


def of_client(request: HttpRequest) -> str:
    """Return the address of the client; `X-Forwarded-For` counts for as many proxies as ORB_PROXIES says."""
    return str(_Identity().get_ident(Request(request))) or "unknown"
