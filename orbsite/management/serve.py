"""orb serve: check the settings and the database, collect the static files, and become the server."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from orbsite.management.program import run_command


def serve(options: Sequence[str]) -> None:
    """Replace this process by gunicorn, which gets the options. Exits with the code of the first check that fails."""
    from django.conf import settings

    run_command(["orb", "migrate", "--check", "--verbosity", "0"])
    is_public = settings.SECURE_SSL_REDIRECT
    strictness = ["--deploy", "--fail-level", "WARNING"] if is_public else []  # without HTTPS, much of it does not hold
    run_command(["orb", "check", "--database", "default", *strictness])
    run_command(["orb", "collectstatic", "--no-input", "--verbosity", "0"])
    server = [sys.executable, "-m", "gunicorn", "--config", "python:orbsite.runtime.gunicorn", *options, "orbsite.wsgi"]
    os.execv(sys.executable, server)  # noqa: S606 -- our own program, without a shell
