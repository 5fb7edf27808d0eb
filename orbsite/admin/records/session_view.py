"""A user's session read as a conversation: what came in and what went out, oldest first, page by page."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from orbsite.admin.base import url_converters  # noqa: F401 -- the converters
from orbsite.admin.base.changelist import QuickAdmin
from orbsite.admin.base.permissions import page
from orbsite.storage.records.record import Record
from orbsite.storage.sql.filters import beyond, can_be_stored

TURNS = 50
LONGEST = 20_000
"""Characters of a text that the page shows; the rest is on the page of the record."""


class ConversingAdmin(QuickAdmin):
    """A list whose groups can be read as conversations."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page, before the one that takes whatever is left."""
        view = page(self.admin_site, self._conversation, allowed=self.has_view_permission)
        return [path("session/<object:user>/<object:group>/", view, name="session"), *super().get_urls()]

    def _conversation(self, request: HttpRequest, user: str, group: str) -> Any:
        user, group = unquote(user), unquote(group)
        kind: type[Record] = self.model.kind
        if not can_be_stored(user) or not can_be_stored(group):
            raise Http404
        rows = self.model._base_manager.filter(user_id=user, **{str(kind.group_field): group})
        place, is_back = _place(request, kind)
        signs = "-" if is_back else ""
        ordered = rows.order_by(*(signs + name for name in kind.order_fields))
        if place is not None:
            ordered = ordered.filter(beyond(kind.order_fields, place, "lt" if is_back else "gt"))
        found = list(ordered[: TURNS + 1])
        if not found and not rows.exists():
            raise Http404
        has_more, shown = len(found) > TURNS, found[:TURNS]
        if is_back:
            shown.reverse()
        every = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Session {group}",
            "subtitle": f"of {user}",
            "opts": self.opts,
            "user_id": user,
            "group": group,
            "turns": [self._turn(request, row) for row in shown],
            "earlier": _cursor(kind, shown[:1]) if (has_more if is_back else place is not None) else "",
            "later": _cursor(kind, shown[-1:]) if (has_more or is_back) else "",
            "is_begun": place is not None,
            "of_user": f"{every}?{urlencode({'user_id': user})}",
            "of_session": f"{every}?{urlencode({'user_id': user, str(kind.group_field): group})}",
        }
        return TemplateResponse(request, "console/conversation.html", context)

    def _turn(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return a row as the page shows it."""
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


def _place(request: HttpRequest, kind: type[Record]) -> tuple[tuple[Any, ...] | None, bool]:
    """Return from where on to show, and whether backwards. Raises Http404 for what was not handed out."""
    text = request.GET.get("after") or request.GET.get("before")
    if text is None:
        return None, False
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        parts = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=list[str])
        if len(parts) != len(kind.order_fields) or not all(map(can_be_stored, parts)):
            raise Http404
        place = tuple(
            _moment(part) if name == kind.time_field else part
            for name, part in zip(kind.order_fields, parts, strict=True)
        )
    except (ValueError, OverflowError, UnicodeError, binascii.Error, msgspec.DecodeError) as problem:
        raise Http404 from problem
    return place, not request.GET.get("after")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time has no zone")
    return moment.astimezone(UTC)


def _cursor(kind: type[Record], rows: list[Any]) -> str:
    if not rows:
        return ""
    values = [getattr(rows[0], name) for name in kind.order_fields]
    parts = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")
