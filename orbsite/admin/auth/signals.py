"""Writes sign-ins, sign-outs and failed sign-ins to the audit log."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from orbsite.admin.auth import reauthentication
from orbsite.models import audit_log
from orbsite.runtime.client_ip import of_client
from orbsite.storage.clock import utc_now


def watch() -> None:
    """Connect the audit log to Django's signals for sign-ins, sign-outs and failed sign-ins."""
    user_logged_in.connect(_signed_in, dispatch_uid="orb_signed_in")
    user_logged_out.connect(_signed_out, dispatch_uid="orb_signed_out")
    user_login_failed.connect(_failed, dispatch_uid="orb_sign_in_failed")


def _signed_in(*, request: HttpRequest | None, user: Any, **_: Any) -> None:
    now = utc_now()
    if request is not None:
        reauthentication.note(request, now)
    audit_log.note(now, user.get_username(), "sign in", address=_address(request))


def _signed_out(*, request: HttpRequest | None, user: Any, **_: Any) -> None:
    if user is not None:
        audit_log.note(utc_now(), user.get_username(), "sign out", address=_address(request))


def _failed(*, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Log a failed sign-in; unknown usernames are left out, because people sometimes type their password there."""
    if getattr(request, reauthentication.CONFIRMING, False) or getattr(request, "axes_locked_out", False):
        return
    model = get_user_model()
    name = str(credentials.get(model.USERNAME_FIELD) or credentials.get("username") or "")
    known = model._default_manager.filter(**{model.USERNAME_FIELD: name}).exists()
    audit_log.note(utc_now(), name if known else "", "sign in failed", address=_address(request))


def _address(request: HttpRequest | None) -> str:
    return "" if request is None else of_client(request)
