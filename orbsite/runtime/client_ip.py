"""Determines the client's IP address, from the connection or from the trusted proxies (ORB_PROXIES)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

_CLIENT_PREFIX = 64
"""The prefix length of an IPv6 network that belongs to one client."""


def of_client(request: HttpRequest | Request) -> str:
    """Return the address of the client, or "unknown".

    REST framework takes it from `X-Forwarded-For`, counted from the right by the number of proxies in ORB_PROXIES, so
    that a client cannot forge it.
    """
    wrapped = request if isinstance(request, Request) else Request(request)
    return str(BaseThrottle().get_ident(wrapped) or "unknown")


def as_ip(request: HttpRequest | Request) -> str | None:
    """Return the address of the client in the form of a database column; None without one, as behind a local socket."""
    try:
        return str(ip_address(of_client(request)))
    except ValueError:
        return None


def network_of(request: HttpRequest | Request) -> str | None:
    """Return the client's network, by which failed logins are counted: an IPv4 address, or the start of an IPv6 /64.

    One client usually has a whole /64. None without an address, as behind a local socket.
    """
    text = as_ip(request)
    if text is None:
        return None
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, _CLIENT_PREFIX), strict=False).network_address)
