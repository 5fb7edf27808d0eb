"""The Django app configuration of the admin site."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.contrib.admin import site
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate


class ConsoleConfig(SimpleAdminConfig):
    """Django's admin with the site of this project, which imports its pages when they are first needed."""

    default_site = "orbsite.admin.site.Console"

    def ready(self) -> None:
        """Name the apps as the sections of the menu, register the checks, and connect the signals."""
        import_module("orbsite.admin.navigation").name_apps()
        register(check_dependencies, Tags.admin)
        register(_check_pages, Tags.admin)
        import_module("orbsite.admin.auth.signals").watch()
        post_migrate.connect(import_module("orbsite.admin.auth.roles").keep, dispatch_uid="orb_groups")


def _check_pages(app_configs: Any, **facts: Any) -> Any:
    """Check the pages of all sites. Django knows a site once it was asked for something."""
    return check_admin_app(app_configs, **facts) if site.name else []
