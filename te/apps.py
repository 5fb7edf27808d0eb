"""The Django app configuration of Te."""

from __future__ import annotations

from django.apps import AppConfig


class TeConfig(AppConfig):
    """The app for reflections of the assistant."""

    name = "te"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Te: reflections"
