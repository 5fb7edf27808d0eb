"""The Django app configuration of the admin site."""

from __future__ import annotations

from importlib import import_module

from django.contrib.admin import site
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules


class ConsoleConfig(AdminConfig):
    """Django's admin with the site of this project."""

    default_site = "orbsite.admin.site.Console"

    def ready(self) -> None:
        """Import the pages, each app's `console.py` among them, and connect the signals of sign-ins and roles."""
        super().ready()
        autodiscover_modules("console", register_to=site)
        import_module("orbsite.admin.registrations.retention")
        import_module("orbsite.admin.registrations.tokens")
        import_module("orbsite.admin.registrations.audit")
        import_module("orbsite.admin.auth.users").replace()
        import_module("orbsite.admin.auth.two_factor").hide(site)
        import_module("orbsite.admin.auth.signals").watch()
        post_migrate.connect(import_module("orbsite.admin.auth.roles").keep, dispatch_uid="orb_groups")
