"""Configures Django for a program that has not done so, such as a plain script."""

from __future__ import annotations

import logging
import os
import threading
from importlib import import_module

import django
from django.apps import apps
from django.conf import ENVIRONMENT_VARIABLE, settings
from django.core.exceptions import ImproperlyConfigured

logger = logging.getLogger(__name__)

OURS = "orbsite.conf.script_settings"
APPS = ("orbsite", "luna", "te")
_lock = threading.Lock()


def ensure_configured() -> None:
    """Set up Django, with the program's own settings if it has any, else with ours, which the environment fills.

    A program has settings of its own if it has called `settings.configure`, or if DJANGO_SETTINGS_MODULE is set. Does
    nothing where Django is set up already. Raises ImproperlyConfigured for settings without our apps.
    """
    with _lock:
        if not (settings.configured or os.environ.get(ENVIRONMENT_VARIABLE)):
            _configure()
        if not (apps.ready or apps.loading):
            django.setup()
    if apps.apps_ready and (missing := [name for name in APPS if not apps.is_installed(name)]):
        raise ImproperlyConfigured(
            f"INSTALLED_APPS lacks {', '.join(missing)}; docs/use.md says what a Django project has to add"
        )


def _configure() -> None:
    module = import_module(OURS)
    settings.configure(**{name: value for name, value in vars(module).items() if name.isupper()})
    logger.info(
        "no Django settings were configured, so those of orb-persistence are used: ORB_PERSISTENCE is %s, "
        "ORB_DATA_DIR is %s",
        settings.ORB_PERSISTENCE,
        settings.ORB_DATA_DIR,
    )
