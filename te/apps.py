"""Te as an app."""

from __future__ import annotations

from django.apps import AppConfig


class TeConfig(AppConfig):
    """What the assistant reflected on."""

    name = "te"
    verbose_name = "Te: reflections"
