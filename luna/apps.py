"""The Django app configuration of Luna."""

from __future__ import annotations

from django.apps import AppConfig


class LunaConfig(AppConfig):
    """The app for preferences of users."""

    name = "luna"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Luna: preferences"
