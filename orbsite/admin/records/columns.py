"""The columns of a list of records, as each person chooses them.

The choice is in a signed cookie for each person and browser, so that a phone may show fewer columns than a desk.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.admin.utils import label_for_field
from django.core import signing
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.text import capfirst
from django.views.decorators.http import require_POST
from typing_extensions import override

from orbsite.admin.base.changelist import ModelAdmin
from orbsite.admin.base.permissions import page
from orbsite.admin.base.redirects import safe_next

_COOKIE = "orb_columns"
_YEAR = 365 * 24 * 60 * 60
"""How long a choice is kept, in seconds."""


class ColumnsMixin(ModelAdmin):
    """A list whose columns can be chosen. `list_display` has those of a person who has chosen none."""

    more_columns: ClassVar[tuple[str, ...]] = ()
    """The columns that are shown only if a person chooses them."""

    @override
    def get_urls(self) -> list[URLPattern]:
        view = page(self.admin_site, require_POST(self._choose_columns), allowed=self.has_view_permission)
        return [path("columns/", view, name=self._name), *super().get_urls()]

    @override
    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        chosen = _read(request).get(self.opts.label_lower)
        if not isinstance(chosen, list):
            return tuple(map(str, self.list_display))
        return self._in_order({*self._fixed, *(name for name in chosen if isinstance(name, str))})

    def choices_of_columns(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Return each column with its name and label, whether it is shown, and whether it cannot be hidden."""
        shown, fixed = self.get_list_display(request), self._fixed
        return [
            {
                "name": name,
                "label": label_for_field(name, self.model, self),
                "is_shown": name in shown,
                "is_fixed": name in fixed,
            }
            for name in self._offered
        ]

    @override
    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        more = {
            "title": capfirst(self.opts.verbose_name_plural),
            "columns": self.choices_of_columns(request),
            "columns_address": reverse(f"{self.admin_site.name}:{self._name}"),
        }
        return super().changelist_view(request, more | (extra_context or {}))

    @property
    def _name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_columns"

    @property
    def _offered(self) -> tuple[str, ...]:
        return (*map(str, self.list_display), *self.more_columns)

    @property
    def _fixed(self) -> tuple[str, ...]:
        """The columns that cannot be hidden: the first one, by which lists are sorted, and the links to the rows."""
        return (str(self.list_display[0]), *map(str, self.list_display_links or ()))

    def _in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = set(names)
        return tuple(name for name in self._offered if name in wanted)

    def _choose_columns(self, request: HttpRequest) -> HttpResponseRedirect:
        """Keep the columns that were sent, or forget them if the default was asked for, and return to the list."""
        chosen = _read(request)
        chosen.pop(self.opts.label_lower, None)
        if "default" not in request.POST:
            chosen[self.opts.label_lower] = list(self._in_order(request.POST.getlist("column")))
        answer = HttpResponseRedirect(safe_next(request))
        answer.set_cookie(
            _cookie(request),
            signing.dumps(chosen, salt=_salt(request)),
            max_age=_YEAR,
            path=reverse(f"{self.admin_site.name}:index"),
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
        return answer


def _read(request: HttpRequest) -> dict[str, Any]:
    """Return the chosen columns of each list from the cookie. Changed cookies, and those of others, are ignored."""
    try:
        chosen = signing.loads(request.COOKIES.get(_cookie(request), ""), salt=_salt(request), max_age=_YEAR)
    except signing.BadSignature:
        return {}
    return chosen if isinstance(chosen, dict) else {}


def _cookie(request: HttpRequest) -> str:
    return f"{_COOKIE}_{request.user.pk}"


def _salt(request: HttpRequest) -> str:
    return f"{_COOKIE}:{request.user.pk}"
