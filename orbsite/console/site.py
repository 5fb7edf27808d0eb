"""The admin site as an operations console."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest

from orbsite import conf
from orbsite.conf import Persistence

PAGES: tuple[str, ...] = ()
"""The modules of this package that have pages: `urls(site)` of each returns its addresses."""


class Console(AdminSite):
    """The admin over the SQL store; it says so where another store is the one in use."""

    site_header = "Orb persistence"
    site_title = "Orb persistence"
    index_title = "What is kept"

    def get_urls(self) -> list[Any]:
        """Put our pages before Django's, whose last address takes whatever is left."""
        pages = [import_module(f"orbsite.console.{name}") for name in PAGES]
        return [*(one for page in pages for one in page.urls(self)), *super().get_urls()]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """Add the notice to every page."""
        return super().each_context(request) | {"persistence_notice": _notice()}


def _notice() -> str:
    mode = conf.persistence()
    if mode is Persistence.SQL:
        return ""
    return f"The store in use is {mode.value}; these pages show the SQL tables. Set ORB_PERSISTENCE=sql to use them."
