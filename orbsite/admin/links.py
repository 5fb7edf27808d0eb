"""Pages of the admin with links to what can be started from them; none needs a row to be chosen first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest

from orbsite.admin.base.changelist import ModelAdmin
from orbsite.admin.base.permissions import may
from orbsite.admin.jobs.views import address_of

Link = tuple[str, str]
"""What it says, and where it goes."""


class Linked(ModelAdmin):
    """A list, and a page of one row, with links beside their titles."""

    change_list_template = "console/linked_list.html"
    change_form_template = "console/linked_row.html"

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Yield what can be started from a row's page or, without one, from the list."""
        yield from ()

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Show the list's links."""
        return super().changelist_view(request, {"links": list(self.links(request)), **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: Any, *arguments: Any, **options: Any) -> Any:
        """Show the row's links."""
        row = context.get("original")
        context["links"] = [] if row is None else list(self.links(request, row))
        return super().render_change_form(request, context, *arguments, **options)


def to_operation(request: HttpRequest, title: str, operation: str, **arguments: Any) -> Iterator[Link]:
    """Yield the way to an operation's form, filled in, for whoever may start it."""
    if may(request.user, operation):
        yield title, address_of(operation, arguments)
