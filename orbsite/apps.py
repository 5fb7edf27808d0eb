"""The Django app configuration of the project."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.utils.module_loading import autodiscover_modules


class OrbsiteConfig(AppConfig):
    """The project's main app. It discovers the domains of the other apps."""

    name = "orbsite"
    verbose_name = "Orb persistence"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import each app's `domain.py`, which registers its domain, and the checks; connect the database signals."""
        import_module("orbsite.conf.defaults").fill_in()
        lenient = import_module("orbsite.storage.sql.lenient_connections").be_lenient_from_now_on
        connection_created.connect(lenient, dispatch_uid="orb_lenient_connections")
        keys = import_module("orbsite.models.user_keys").StoredUserKeys(
            import_module("orbsite.conf.app_settings").packing
        )
        import_module("orbsite.storage.records.sealed_columns").use_keys(keys)
        autodiscover_modules("domain")
        autodiscover_modules("checks")
        import_module("orbsite.conf.checks")
        import_module("orbsite.conf.postgresql_checks")
