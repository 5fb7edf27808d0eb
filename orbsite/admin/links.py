"""Admin pages with links to operations. No row has to be selected to use a link."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest
from typing_extensions import override

from orbsite.admin.base.changelist import ModelAdmin
from orbsite.admin.base.permissions import may
from orbsite.operations.monitoring.console_pages import address_of

Link = tuple[str, str]
"""The title and the URL of a link."""


class LinksMixin(ModelAdmin):
    """A change list and a change form with links next to their titles."""

    change_list_template = "console/linked_list.html"
    change_form_template = "console/linked_row.html"

    def links(self, request: HttpRequest, row: Any = None) -> Iterator[Link]:
        """Yield the links of a row's page or, without a row, those of the list."""
        yield from ()

    @override
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return super().changelist_view(request, {"links": list(self.links(request)), **(extra_context or {})})

    @override
    def render_change_form(self, request: HttpRequest, context: Any, *arguments: Any, **options: Any) -> Any:
        row = context.get("original")
        context["links"] = [] if row is None else list(self.links(request, row))
        return super().render_change_form(request, context, *arguments, **options)


def to_operation(request: HttpRequest, title: str, operation: str, **arguments: Any) -> Iterator[Link]:
    """Yield a link to an operation's form with its arguments filled in, if the user may start the operation."""
    if may(request.user, operation):
        yield title, address_of(operation, arguments)
