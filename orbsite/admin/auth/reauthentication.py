"""Re-authentication: the user enters the password again before an irreversible action or a large export.

A sign-in counts as a confirmation. A POST that needs a confirmation is not repeated after it: nothing was done, and the
user has to submit the form again.
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
from django.contrib.admin.options import BaseModelAdmin
from django.contrib.auth import authenticate
from django.http import HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.debug import sensitive_post_parameters

from orbsite.admin.auth import two_factor
from orbsite.admin.base import redirects
from orbsite.conf import app_settings
from orbsite.models import audit_log
from orbsite.models.ledger import Change, Reject
from orbsite.runtime.client_ip import of_client
from orbsite.storage.clock import utc_now
from orbsite.storage.records.domain import registered
from orbsite.storage.records.sealed_columns import is_sealing
from orbsite.storage.sql.models import RecordRow

View = Callable[..., Any]

CONFIRMATION_LIFETIME = timedelta(minutes=5)
"""How long a confirmation is valid."""
_CONFIRMED_AT = "orb_confirmed_at"
_EXPORTED = "orb_taken_since"
MOST_EXPORTED = 20
"""The number of records that a session may export without a new confirmation."""
_ACCESS_MODELS = frozenset({"orbsite.token"})
_CONTENT_PAGES = frozenset({"record_history", "record_revert", "record_reset", "removed_by", "session"})
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
CONFIRMING = "orb_is_confirming"
"""The attribute of a request that marks a confirmation, so that it is not logged as a sign-in."""


def confirmed(view: View) -> View:
    """Decorate a view or an admin action so that it requires a recent confirmation of the password.

    Without one, the user is redirected to the confirmation page, and from there back with GET. Decorate both the page
    that asks whether to go on and the POST that performs the action.
    """

    @wraps(view)
    def guarded(*arguments: Any, **named: Any) -> Any:
        request = next(one for one in (*arguments, *named.values()) if isinstance(one, HttpRequest))
        return ask(request) or view(*arguments, **named)

    return guarded


def ask(request: HttpRequest, to: str = "") -> HttpResponseRedirect | None:
    """Return a redirect to the confirmation page, or None if the password was confirmed recently.

    After the confirmation, the user goes to `to`, by default back to the page of this request.
    """
    if is_fresh(request, utc_now()):
        return None
    if request.method not in ("GET", "HEAD"):
        messages.warning(request, "Nothing was changed. Confirm your password, then submit the form again.")
    back = urlencode({"next": to or request.get_full_path()})
    return HttpResponseRedirect(f"{reverse('admin:console_again')}?{back}")


def of_access(request: HttpRequest, page: Any) -> HttpResponseRedirect | None:
    """Return a redirect to the confirmation page if the request changes a model that controls access, else None.

    The site calls this for every page of every model, so that no page, action or future model is left out.
    """
    if request.method in _SAFE_METHODS or not guards(page.model):
        return None
    return ask(request)


def of_contents(request: HttpRequest, page: Any) -> HttpResponseRedirect | None:
    """Return a redirect to the confirmation page if the request would show sealed texts, else None.

    Lists show no sealed texts. The other pages of records and of their copies do, and each visit is logged.
    """
    match = request.resolver_match
    name = match.url_name or "" if match is not None else ""
    is_of_records = isinstance(page, BaseModelAdmin) and issubclass(page.model, (RecordRow, Change, Reject))
    if not is_sealing() or not (is_of_records or name in _CONTENT_PAGES) or name.endswith(("_changelist", "_add")):
        return None
    confirmation = ask(request)
    if confirmation is None and request.method == "GET":
        subject = "/".join(map(str, match.kwargs.values())) if match is not None else ""
        actor = request.user.get_username()
        audit_log.note(utc_now(), actor, "open", subject=subject, address=of_client(request), page=name)
    return confirmation


def guards(model: type[Any]) -> bool:
    """Return whether a model controls access: API tokens, and every model outside `orbsite` and the domains' apps."""
    label = model._meta.app_label
    ours = {"orbsite"} | {row._meta.app_label for domain in registered() for row in domain.models.values()}
    return label not in ours or model._meta.label_lower in _ACCESS_MODELS


def ask_for_many(request: HttpRequest, number: int, to: str = "") -> HttpResponseRedirect | None:
    """Return a redirect to the confirmation page if an export of `number` records exceeds the limit, else None.

    The limit is `MOST_EXPORTED` records for all exports of a session since its last confirmation; none where texts are
    sealed.
    """
    if is_sealing():
        return ask(request, to)
    if is_fresh(request, utc_now()):
        return None
    exported = request.session.get(_EXPORTED)
    total = number + (exported if isinstance(exported, int) else 0)
    if total > MOST_EXPORTED:
        return ask(request, to)
    request.session[_EXPORTED] = total
    return None


def is_fresh(request: HttpRequest, now: datetime) -> bool:
    """Return whether the session's confirmation is still valid; it is not if the clock was set back since."""
    at = _confirmed_at(request)
    return at is not None and timedelta() <= now - at <= CONFIRMATION_LIFETIME


def lasts(request: HttpRequest, now: datetime) -> bool:
    """Return whether the last confirmation is younger than SESSION_COOKIE_AGE; other activity does not extend it."""
    at = _confirmed_at(request)
    return at is not None and now - at <= timedelta(seconds=settings.SESSION_COOKIE_AGE)


def note(request: HttpRequest, now: datetime) -> None:
    """Store in the session that the user has confirmed the password."""
    request.session[_CONFIRMED_AT] = now.isoformat()
    request.session.pop(_EXPORTED, None)


def urls(site: AdminSite) -> list[URLPattern]:
    """Return the URL pattern of the confirmation page."""
    return [path("console/again/", site.admin_view(confirm_password), {"site": site}, name="console_again")]


def _confirmed_at(request: HttpRequest) -> datetime | None:
    try:
        at = datetime.fromisoformat(request.session[_CONFIRMED_AT])
    except (KeyError, TypeError, ValueError):
        return None
    return at if at.tzinfo else None


class ConfirmPasswordForm(forms.Form):
    """The password of the signed-in user and, if two-factor authentication is on, a code."""

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
        """Check the password and the code. Wrong entries count as failed sign-ins. Raises ValidationError."""
        name = self.request.user.get_username()
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if "password" in cleaned:
            setattr(self.request, CONFIRMING, True)
            user = authenticate(self.request, username=name, password=cleaned["password"])
            known = user is not None and user.pk == self.request.user.pk
            if not known or ("code" in self.fields and not two_factor.verify(self.request, cleaned.get("code", ""))):
                raise forms.ValidationError("The entry is wrong. Try again. Too many wrong entries lock the account.")
        return cleaned


@sensitive_post_parameters()
def confirm_password(request: HttpRequest, site: AdminSite) -> Any:
    """Show the confirmation page; after a correct password, redirect to the page that required it."""
    to = redirects.safe_next(request)
    form = ConfirmPasswordForm(request, request.POST if request.method == "POST" else None)
    if request.method == "POST":
        now = utc_now()
        is_confirmed = form.is_valid()
        act = "confirm" if is_confirmed else "confirm failed"
        audit_log.note(now, request.user.get_username(), act, address=of_client(request))
        if is_confirmed:
            note(request, now)
            return HttpResponseRedirect(to)
    context = site.each_context(request) | {"title": "Confirm your password", "form": form, "next": to}
    return TemplateResponse(request, "console/confirm_password.html", context)
