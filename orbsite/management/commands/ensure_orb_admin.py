"""manage.py ensure_orb_admin: create the first superuser."""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from orbsite.management.base import GuardedCommand
from orbsite.runtime.home import program

NAME = "admin"


class Command(GuardedCommand):
    """Create the first superuser, with a random password that is shown once."""

    help = "Create the first superuser, with a random password that is shown once; only its hash is kept."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        """Create the user, or name the superuser that exists."""
        users = get_user_model()._default_manager
        known = users.filter(is_superuser=True).order_by("pk").first()
        if known is None:
            password = secrets.token_urlsafe(12)
            shown = self.style.SUCCESS(f"Sign in as {NAME} with the password {password} (shown only now).")
            with transaction.atomic():
                users.create_superuser(NAME, password=password)
                self.tell(shown, "no user was made, because the password could not be shown")
        else:
            name = known.get_username()
            self.tell(f"Sign in as {name}; for a new password run: {program()} changepassword {name}")
