"""The Django app configurations of the project and of its admin site."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.contrib.admin import site
from django.contrib.admin.apps import AdminConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules


class OrbsiteConfig(AppConfig):
    """The project's main app. It discovers the domains of the other apps."""

    name = "orbsite"
    verbose_name = "Orb persistence"

    def ready(self) -> None:
        """Import each app's `domain.py`, which registers its domain, and the checks; connect the database signals."""
        lenient = import_module("orbsite.storage.sql.lenient_connections").be_lenient_from_now_on
        connection_created.connect(lenient, dispatch_uid="orb_lenient_connections")
        keys = import_module("orbsite.models.user_keys").StoredUserKeys(
            import_module("orbsite.conf.app_settings").packing
        )
        import_module("orbsite.storage.records.sealed_columns").use_keys(keys)
        autodiscover_modules("domain")
        autodiscover_modules("checks")
        import_module("orbsite.conf.checks")


class ConsoleConfig(AdminConfig):
    """Django's admin with the site of this project."""

    default_site = "orbsite.admin.site.Console"

    def ready(self) -> None:
        """Import the admin pages that autodiscovery does not find, and connect the signals of sign-ins and roles."""
        super().ready()
        import_module("orbsite.admin.registrations.retention")
        import_module("orbsite.admin.registrations.tokens")
        import_module("orbsite.admin.registrations.audit")
        import_module("orbsite.admin.auth.users").replace()
        import_module("orbsite.admin.auth.two_factor").hide(site)
        import_module("orbsite.admin.auth.signals").watch()
        post_migrate.connect(import_module("orbsite.admin.auth.roles").keep, dispatch_uid="orb_groups")
