"""Two-factor authentication with one-time codes from an authenticator app, required if ORB_ADMIN_2FA is set.

Users without an authenticator set one up after they sign in. A code is valid once, and each wrong code lengthens the
wait before the next attempt.
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

_WRONG_CODE = "The code is wrong or was already used. Wait for the next code in your authenticator app, then enter it."
_PENDING_DEVICE = "orb_second_begun"
"""The session key that holds the id of the authenticator being set up."""


class CodeField(forms.RegexField):
    """A field for a one-time code of six digits."""

    def __init__(self) -> None:
        attributes = {"inputmode": "numeric", "autocomplete": "one-time-code", "maxlength": "6", "size": "8"}
        super().__init__(
            r"^[0-9]{6}\Z",
            label="Code",
            error_messages={"invalid": "Enter the six digits of the code, without spaces."},
            help_text="The six digits shown in your authenticator app.",
            widget=forms.TextInput(attrs=attributes),
        )


class CodeForm(forms.Form):
    """A form for a one-time code."""

    code = CodeField()


def is_missing(request: HttpRequest) -> bool:
    """Return whether a signed-in staff user still has to enter a required second factor."""
    user: Any = request.user
    return bool(app_settings.admin_2fa() and user.is_active and user.is_staff and not user.is_verified())


def verify(request: HttpRequest, code: str) -> bool:
    """Return whether a code is valid for the user's authenticator now; a valid code is used up by this call."""
    device = _device(request.user, is_set_up=True)
    return device is not None and verify_token(request.user, device.persistent_id, code) is not None


def send(request: HttpRequest) -> HttpResponseRedirect:
    """Return a redirect to the page that asks for a code; after that, the user comes back to this address."""
    return HttpResponseRedirect(f"{reverse('admin:console_second')}?{urlencode({'next': request.get_full_path()})}")


def urls(site: AdminSite) -> list[URLPattern]:
    """Return the URL pattern of the page, which signed-in users reach without a second factor."""
    return [path("console/second/", never_cache(csrf_protect(enter_code)), {"site": site}, name="console_second")]


def hide(site: AdminSite) -> None:
    """Remove the admin pages of django_otp's devices, because they would show the secrets."""
    site.unregister(TOTPDevice)


def enter_code(request: HttpRequest, site: AdminSite) -> Any:
    """Ask for a code, or guide a user without an authenticator through its setup."""
    to = redirects.safe_next(request)
    if not is_missing(request):
        return HttpResponseRedirect(to)
    device = _device(request.user, is_set_up=True)
    if device is None and request.method == "POST" and "begin" in request.POST:
        _begin_setup(request)
        return HttpResponseRedirect(f"{request.path}?{urlencode({'next': to})}")
    new = None if device else _pending_device(request)
    form = CodeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and (device or new) and form.is_valid():
        if _check_code(request, device or new, form.cleaned_data["code"]):
            return HttpResponseRedirect(to)
        form.add_error("code", _WRONG_CODE)
    context = site.each_context(request) | {
        "title": "Enter your code" if device else "Set up your authenticator app",
        "form": form,
        "next": to,
        "device": device,
        "new": new,
        **(_setup_details(new) if new else {}),
    }
    return TemplateResponse(request, "console/two_factor.html", context)


def _check_code(request: HttpRequest, device: TOTPDevice, code: str) -> bool:
    """Return whether a code is valid; if so, mark the session as verified, and a new authenticator as confirmed."""
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


def _begin_setup(request: HttpRequest) -> None:
    """Create a device with a new secret, which becomes active once the user enters a valid code for it."""
    user: Any = request.user
    with transaction.atomic():
        TOTPDevice.objects.filter(user=user, confirmed=False).delete()
        device = TOTPDevice.objects.create(user=user, name="authenticator", confirmed=False)
    request.session[_PENDING_DEVICE] = device.persistent_id


def _pending_device(request: HttpRequest) -> TOTPDevice | None:
    """Return the device that this session is setting up; the secret of another session's device may be compromised."""
    device = _device(request.user, is_set_up=False)
    return device if device and device.persistent_id == request.session.get(_PENDING_DEVICE) else None


def _device(user: Any, *, is_set_up: bool) -> TOTPDevice | None:
    device: TOTPDevice | None = TOTPDevice.objects.filter(user=user, confirmed=is_set_up).order_by("-pk").first()
    return device


def _setup_details(device: TOTPDevice) -> dict[str, str]:
    """Return a device's secret as text in groups of four, as a URI, and as a QR code."""
    secret = b32encode(device.bin_key).decode()
    return {
        "secret": " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        "uri": device.config_url,
        "picture": segno.make(device.config_url, micro=False).svg_data_uri(scale=4, border=4, light="white"),
    }
