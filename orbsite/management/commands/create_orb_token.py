"""Makes a token for the API, and prints it once."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import transaction

from orbsite.management.base import COULD_NOT_RUN, GuardedCommand
from orbsite.models import audit_log
from orbsite.models.api_tokens import SCOPES, Token, issue, scopes_help
from orbsite.storage.clock import utc_now
from orbsite.storage.encoding.timestamps import spell


class Command(GuardedCommand):
    """Create a token for the API."""

    help = "Create a token for the API. It is printed once; the database keeps only its digest."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options that limit the token."""
        parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print it")
        parser.add_argument("--name", required=True, help="what it is for")
        parser.add_argument(
            "--scope", action="append", choices=tuple(SCOPES), required=True, help=f"may be repeated; {scopes_help()}"
        )
        who = parser.add_mutually_exclusive_group()
        who.add_argument("--user", action="append", metavar="ID", default=[], help="whose data; may be repeated")
        who.add_argument(
            "--every-user", action="store_true", help="the data of every user; work over the whole store needs it"
        )
        parser.add_argument("--expires-days", type=float, metavar="N", help="for how long it is valid (default: ever)")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002
        """Create the token and print it."""
        now = utc_now()
        days = options["expires_days"]
        token = Token(
            name=options["name"],
            scopes=sorted(set(options["scope"])),
            users=sorted(set(options["user"])),
            every_user=options["every_user"],
            expires_at=None if days is None else now + timedelta(days=days),
            created_by="create_orb_token",
        )
        try:
            with transaction.atomic():
                secret = issue(token, now)
                facts = {"scopes": token.scopes, "users": len(token.users), "every_user": token.every_user}
                audit_log.note(now, "create_orb_token", "token made", subject=token.prefix, **facts)
                self._show(secret, token, as_json=options["format"] == "json")
        except (ValidationError, OverflowError) as problem:
            told = "; ".join(getattr(problem, "messages", ["--expires-days is too many"]))
            raise CommandError(f"no token was made: {told}", returncode=COULD_NOT_RUN) from problem
        if options["format"] != "json":
            self.stderr.write("Keep it safe: it cannot be shown again. Send it as Authorization: Bearer ...")

    def _show(self, secret: str, token: Token, *, as_json: bool) -> None:
        """Print the token before it is committed: a token that could not be shown is of no use."""
        expires = token.expires_at and spell(token.expires_at)
        shown = {"ok": True, "token": secret, "prefix": token.prefix, "expiresAt": expires}
        self.tell(json.dumps(shown) if as_json else secret, "no token was made, because it could not be shown")
