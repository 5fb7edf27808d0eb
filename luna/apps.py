"""Luna as an app."""

from __future__ import annotations

from django.apps import AppConfig


class LunaConfig(AppConfig):
    """What a user wants."""

    name = "luna"
    verbose_name = "Luna: preferences"
