"""The second factor: codes that an authenticator shows, asked for on every page where ORB_ADMIN_2FA is set.

Who has no authenticator sets one up after the password. A code counts once, and each wrong one makes the next wait
longer.
"""

from __future__ import annotations

from base64 import b32encode
from typing import Any
from urllib.parse import urlencode

import segno
from django import forms
from django.contrib.admin import AdminSite
from django.db import transaction
from django.http import HttpRequest, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django_otp import login, verify_token
from django_otp.plugins.otp_totp.models import TOTPDevice

from orbsite.admin.base import redirects
from orbsite.conf import app_settings
from orbsite.models import audit_log
from orbsite.runtime.client_ip import of_client
from orbsite.storage.clock import utc_now

_WRONG = "That code is not right, or was used before. Wait until the authenticator shows the next one."


_BEGUN = "orb_second_begun"


class CodeField(forms.RegexField):
    """Six digits that an authenticator shows."""

    def __init__(self) -> None:
        shown = {"inputmode": "numeric", "autocomplete": "one-time-code", "maxlength": "6", "size": "8"}
        super().__init__(
            r"^[0-9]{6}\Z",
            label="Code",
            error_messages={"invalid": "A code has six digits."},
            help_text="The six digits that your authenticator shows.",
            widget=forms.TextInput(attrs=shown),
        )


class CodeForm(forms.Form):
    """A code."""

    code = CodeField()


def is_missing(request: HttpRequest) -> bool:
    """Tell whether somebody has signed in, and has yet to show the second factor that is asked for."""
    user: Any = request.user
    return bool(app_settings.admin_2fa() and user.is_active and user.is_staff and not user.is_verified())


def verify(request: HttpRequest, code: str) -> bool:
    """Tell whether a code is one that the user's authenticator shows now. It counts once."""
    device = _device(request.user, is_set_up=True)
    return device is not None and verify_token(request.user, device.persistent_id, code) is not None


def send(request: HttpRequest) -> HttpResponseRedirect:
    """Return the way to the page that asks for a code, and from there back."""
    return HttpResponseRedirect(f"{reverse('admin:console_second')}?{urlencode({'next': request.get_full_path()})}")


def urls(site: AdminSite) -> list[URLPattern]:
    """Return the page's address; whoever has signed in reaches it without a second factor."""
    return [path("console/second/", never_cache(csrf_protect(second)), {"site": site}, name="console_second")]


def hide(site: AdminSite) -> None:
    """Show no page of the authenticators' secrets."""
    site.unregister(TOTPDevice)


def second(request: HttpRequest, site: AdminSite) -> Any:
    """Ask for a code; who has no authenticator is led through setting one up."""
    to = redirects.safe_next(request)
    if not is_missing(request):
        return HttpResponseRedirect(to)
    device = _device(request.user, is_set_up=True)
    if device is None and request.method == "POST" and "begin" in request.POST:
        _begin(request)
        return HttpResponseRedirect(f"{request.path}?{urlencode({'next': to})}")
    new = None if device else _begun(request)
    form = CodeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and (device or new) and form.is_valid():
        if _enter(request, device or new, form.cleaned_data["code"]):
            return HttpResponseRedirect(to)
        form.add_error("code", _WRONG)
    context = site.each_context(request) | {
        "title": "Enter a code" if device else "Set up your authenticator",
        "form": form,
        "next": to,
        "device": device,
        "new": new,
        **(_shown(new) if new else {}),
    }
    return TemplateResponse(request, "console/second.html", context)


def _enter(request: HttpRequest, device: TOTPDevice, code: str) -> bool:
    """Check a code; where it is right, the session is one with a second factor from now on."""
    user, is_new = request.user, not device.confirmed
    right = verify_token(user, device.persistent_id, code)
    act = ("second factor set up" if is_new else "second factor") if right else "second factor failed"
    with transaction.atomic():
        if right and is_new:
            TOTPDevice.objects.filter(user=device.user, confirmed=False).exclude(pk=device.pk).delete()
            TOTPDevice.objects.filter(pk=device.pk).update(confirmed=True)
        audit_log.note(utc_now(), user.get_username(), act, address=of_client(request))
    if right:
        request.session.cycle_key()
        login(request, right)
    return right is not None


def _begin(request: HttpRequest) -> None:
    """Make a new secret, which counts once a code has shown that an authenticator has it."""
    user: Any = request.user
    with transaction.atomic():
        TOTPDevice.objects.filter(user=user, confirmed=False).delete()
        device = TOTPDevice.objects.create(user=user, name="authenticator", confirmed=False)
    request.session[_BEGUN] = device.persistent_id


def _begun(request: HttpRequest) -> TOTPDevice | None:
    """Return the authenticator that this session is setting up: another one may have seen the secret of any other."""
    device = _device(request.user, is_set_up=False)
    return device if device and device.persistent_id == request.session.get(_BEGUN) else None


def _device(user: Any, *, is_set_up: bool) -> TOTPDevice | None:
    device: TOTPDevice | None = TOTPDevice.objects.filter(user=user, confirmed=is_set_up).order_by("-pk").first()
    return device


def _shown(device: TOTPDevice) -> dict[str, str]:
    """Return a secret as people and as authenticators read it."""
    secret = b32encode(device.bin_key).decode()
    return {
        "secret": " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        "uri": device.config_url,
        "picture": segno.make(device.config_url, micro=False).svg_data_uri(scale=4, border=4, light="white"),
    }
