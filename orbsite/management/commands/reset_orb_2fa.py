"""manage.py reset_orb_2fa: resets two-factor authentication for a user who has lost the authenticator."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.db import transaction
from django_otp.plugins.otp_totp.models import TOTPDevice
from typing_extensions import override

from orbsite.management.base import COULD_NOT_RUN, GuardedCommand
from orbsite.models import audit_log
from orbsite.storage.clock import utc_now


class Command(GuardedCommand):
    """Remove the authenticator of a user."""

    help = "Remove the authenticator of a user, who then signs in with the password and sets up another one."

    @override
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the name with which the user signs in")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        """Remove the authenticator, and print the user's name."""
        model, name = get_user_model(), options["name"]
        with transaction.atomic():
            user = model._default_manager.filter(**{model.USERNAME_FIELD: name}).first()
            if user is None:
                raise CommandError(
                    "there is no user with this name; the admin lists all users", returncode=COULD_NOT_RUN
                )
            devices = TOTPDevice.objects.filter(user=user)
            number = devices.filter(confirmed=True).count()
            devices.delete()
            audit_log.note(utc_now(), "reset_orb_2fa", "second factor reset", subject=str(user.pk), devices=number)
        self.tell(f"Removed {number} authenticators. The user sets up a new one at the next sign-in or page.")
