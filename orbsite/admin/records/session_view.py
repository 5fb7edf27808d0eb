"""A page that shows a user's session as a conversation: inputs and outputs, oldest first, with pagination."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from orbsite.admin.base import url_converters  # noqa: F401 -- the converters
from orbsite.admin.base.cells import user_address
from orbsite.admin.base.changelist import QuickAdmin
from orbsite.admin.base.permissions import page
from orbsite.storage.base import cursor
from orbsite.storage.records.record import Record
from orbsite.storage.sql.filters import beyond, can_be_stored

TURNS = 50
LONGEST = 20_000
"""The number of characters of a text that the page shows; the record's own page shows all."""


class ConversingAdmin(QuickAdmin):
    """A list with a conversation page for each of its groups."""

    def get_urls(self) -> list[URLPattern]:
        """Add the conversation page before Django's last URL pattern, which matches every URL."""
        view = page(self.admin_site, self._conversation, allowed=self.has_view_permission)
        return [path("session/<object:user>/<object:group>/", view, name="session"), *super().get_urls()]

    def _conversation(self, request: HttpRequest, user: str, group: str) -> Any:
        user, group = unquote(user), unquote(group)
        kind: type[Record] = self.model.kind
        if not can_be_stored(user) or not can_be_stored(group):
            raise Http404
        rows = self.model._base_manager.filter(user_id=user, **{str(kind.group_field): group})
        position, is_back = _position(request, kind)
        signs = "-" if is_back else ""
        ordered = rows.order_by(*(signs + name for name in kind.order_fields))
        if position is not None:
            ordered = ordered.filter(beyond(kind.order_fields, position, "lt" if is_back else "gt"))
        turns = list(ordered[: TURNS + 1])
        for turn in turns:
            turn.open_columns()
        if not turns and not rows.exists():
            raise Http404
        has_more, shown = len(turns) > TURNS, turns[:TURNS]
        if is_back:
            shown.reverse()
        changelist = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Session {group}",
            "subtitle": f"of {user}",
            "opts": self.opts,
            "user_id": user,
            "group": group,
            "turns": [self._turn(request, row) for row in shown],
            "earlier": _cursor(shown[:1]) if (has_more if is_back else position is not None) else "",
            "later": _cursor(shown[-1:]) if (has_more or is_back) else "",
            "is_begun": position is not None,
            "of_user": f"{changelist}?{urlencode({'user_id': user})}",
            "user_page": user_address(user),
            "of_session": f"{changelist}?{urlencode({'user_id': user, str(kind.group_field): group})}",
        }
        return TemplateResponse(request, "console/conversation.html", context)

    def _turn(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return the template context of one row."""
        kind: type[Record] = self.model.kind
        texts = [(name.replace("_", " "), getattr(row, name)) for name in kind.text_fields]
        tags = getattr(row, str(kind.tag_field)) if kind.tag_field else []
        return {
            "row": row,
            "at": getattr(row, str(kind.time_field)),
            "texts": [
                {"name": name, "text": text[:LONGEST], "is_cut": len(text) > LONGEST} for name, text in texts if text
            ],
            "tags": [tag for tag in tags if isinstance(tag, str)],
            "address": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[quote(row.pk)]),
            "may_change": self.has_change_permission(request, row),
        }


def _position(request: HttpRequest, kind: type[Record]) -> tuple[tuple[Any, ...] | None, bool]:
    """Return the position that the cursor encodes, and whether to page backwards. Raises Http404 for a bad cursor."""
    text = request.GET.get("after") or request.GET.get("before")
    if text is None:
        return None, False
    try:
        return cursor.decode(text, kind), not request.GET.get("after")
    except ValueError as problem:
        raise Http404 from problem


def _cursor(rows: list[Any]) -> str:
    return cursor.encode(getattr(rows[0], name) for name in type(rows[0]).kind.order_fields) if rows else ""
