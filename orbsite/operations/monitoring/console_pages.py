"""Addresses of the console's pages, by the names of their URL patterns. No page is imported."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse


def address_of(name: str, arguments: dict[str, Any]) -> str:
    """Return the URL of an operation's form with the arguments filled in."""
    given = {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in arguments.items()}
    texts = {key: str(value).lower() if isinstance(value, bool) else value for key, value in given.items()}
    return page_address("operation", name, **texts)


def page_address(page: str, *arguments: object, **query: object) -> str:
    """Return the URL of a page of the console with a query string."""
    return f"{reverse(f'admin:{page}', args=arguments)}{'?' if query else ''}{urlencode(query)}"
