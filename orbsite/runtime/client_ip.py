"""Whose address a request comes from: told by the connection, or by the proxies that the settings count."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

_OF_ONE_CLIENT = 64
"""How many bits of an IPv6 address tell clients apart."""


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


def network_of(request: HttpRequest | Request) -> str | None:
    """Return what guesses are counted by: an IPv4 address, or the first address of the /64 of an IPv6 address.

    One client has a whole /64 to itself. None where there is no address, as behind a local socket.
    """
    told = as_ip(request)
    if told is None:
        return None
    address = ip_address(told.partition("%")[0])
    if isinstance(address, IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((address, _OF_ONE_CLIENT), strict=False).network_address)
