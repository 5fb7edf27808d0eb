"""Asking for the password again before what cannot be taken back, or takes everything with it.

Whoever has just signed in has told it just now. What was sent when a page asks again is not sent a second time: nothing
has happened, and the person does it once more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.debug import sensitive_post_parameters

from orbsite.admin.auth import two_factor
from orbsite.admin.base import redirects
from orbsite.conf import app_settings
from orbsite.models import audit_log
from orbsite.runtime.client_ip import of_client
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import registered

View = Callable[..., Any]

LASTS = timedelta(minutes=5)
"""For how long nobody is asked again."""
_AT = "orb_confirmed_at"
_TAKEN = "orb_taken_since"
MOST_TAKEN = 20
"""How many records a session may export from lists until the password is asked for again."""
_OF_ACCESS = frozenset({"orbsite.token"})
_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
CONFIRMING = "orb_is_confirming"
"""Set on a request that asks for the password again, which is no sign-in."""


def confirmed(view: View) -> View:
    """Let a view, or an action of the admin, be reached by those alone who told their password a moment ago.

    Others are sent to the page that asks for it, and from there back by GET. Put it on the page that asks whether to go
    on, so that this comes first, and on the POST that does it.
    """

    @wraps(view)
    def guarded(*arguments: Any, **named: Any) -> Any:
        request = next(one for one in (*arguments, *named.values()) if isinstance(one, HttpRequest))
        return ask(request) or view(*arguments, **named)

    return guarded


def ask(request: HttpRequest, to: str = "") -> HttpResponseRedirect | None:
    """Return the way to the page that asks for the password, and from there back; None where it was told just now."""
    if is_fresh(request, utc_now()):
        return None
    if request.method not in ("GET", "HEAD"):
        messages.warning(request, "Nothing was done yet: confirm that it is you, then do it again.")
    back = urlencode({"next": to or request.get_full_path()})
    return HttpResponseRedirect(f"{reverse('admin:console_again')}?{back}")


def of_access(request: HttpRequest, page: Any) -> HttpResponseRedirect | None:
    """Return the way to the page that asks for the password, where a page of access is sent something.

    The site asks this for every page of every model, so that no page, action or later model is forgotten.
    """
    if request.method in _SAFE or not guards(page.model):
        return None
    return ask(request)


def guards(model: type[Any]) -> bool:
    """Tell whether the pages of a model decide on who gets in: all do but those of records and of their upkeep."""
    label = model._meta.app_label
    ours = {"orbsite"} | {kept._meta.app_label for domain in registered() for kept in domain.models.values()}
    return label not in ours or model._meta.label_lower in _OF_ACCESS


def ask_for_many(request: HttpRequest, number: int, to: str = "") -> HttpResponseRedirect | None:
    """Return the way to the page that asks for the password, where so many records more are too many to take unasked.

    What a session takes is added up until the password is told: twice half as many are as many.
    """
    if is_fresh(request, utc_now()):
        return None
    taken = request.session.get(_TAKEN)
    total = number + (taken if isinstance(taken, int) else 0)
    if total > MOST_TAKEN:
        return ask(request, to)
    request.session[_TAKEN] = total
    return None


def is_fresh(request: HttpRequest, now: datetime) -> bool:
    """Tell whether the password was told in this session a moment ago; a clock that went back asks again."""
    at = _told_at(request)
    return at is not None and timedelta() <= now - at <= LASTS


def lasts(request: HttpRequest, now: datetime) -> bool:
    """Tell whether the password was told as late as a session may last: what is done in it does not prolong it."""
    at = _told_at(request)
    return at is not None and now - at <= timedelta(seconds=settings.SESSION_COOKIE_AGE)


def note(request: HttpRequest, now: datetime) -> None:
    """Remember in the session that its user has proven who it is."""
    request.session[_AT] = now.isoformat()
    request.session.pop(_TAKEN, None)


def urls(site: AdminSite) -> list[URLPattern]:
    """Return the page's address."""
    return [path("console/again/", site.admin_view(again), {"site": site}, name="console_again")]


def _told_at(request: HttpRequest) -> datetime | None:
    try:
        at = datetime.fromisoformat(request.session[_AT])
    except (KeyError, TypeError, ValueError):
        return None
    return at if at.tzinfo else None


class AgainForm(forms.Form):
    """The password of whoever is signed in; where a second factor is asked for, its code too."""

    password = forms.CharField(
        strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True})
    )
    code = two_factor.CodeField()

    def __init__(self, request: HttpRequest, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.request = request
        if not app_settings.admin_2fa():
            del self.fields["code"]

    def clean(self) -> dict[str, Any]:
        """Refuse whoever it is not; all guesses count as those at the sign-in do."""
        name = self.request.user.get_username()
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if "password" in cleaned:
            setattr(self.request, CONFIRMING, True)
            user = authenticate(self.request, username=name, password=cleaned["password"])
            known = user is not None and user.pk == self.request.user.pk
            if not known or ("code" in self.fields and not two_factor.verify(self.request, cleaned.get("code", ""))):
                raise forms.ValidationError("That is not right. Try again; too many wrong ones lock the account.")
        return cleaned


@sensitive_post_parameters()
def again(request: HttpRequest, site: AdminSite) -> Any:
    """Ask for the password, and go back to where it was wanted."""
    to = redirects.safe_next(request)
    form = AgainForm(request, request.POST if request.method == "POST" else None)
    if request.method == "POST":
        now = utc_now()
        passed = form.is_valid()
        audit_log.note(
            now, request.user.get_username(), "confirm" if passed else "confirm failed", address=of_client(request)
        )
        if passed:
            note(request, now)
            return HttpResponseRedirect(to)
    context = site.each_context(request) | {"title": "Confirm that it is you", "form": form, "next": to}
    return TemplateResponse(request, "console/again.html", context)
