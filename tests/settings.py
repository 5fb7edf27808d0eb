"""The project's settings, with memory as the store, and a database of each kind."""

from __future__ import annotations

import os
import tempfile

os.environ |= {"DEBUG": "false", "SECRET_KEY": "for-tests-alone-" + "x" * 50, "ALLOWED_HOSTS": "testserver,localhost"}
os.environ.setdefault("ORB_PERSISTENCE", "memory")

from orbsite.settings import *  # noqa: F403
from orbsite.settings import DATABASES, INSTALLED_APPS, env

DATABASES["default"] = env.db_url_config(f"sqlite:///{tempfile.gettempdir()}/unused-by-tests.sqlite3")
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 20}
DATABASES["postgresql"] = {"ENGINE": "django.db.backends.postgresql", "NAME": "orb", "USER": "orb"}

INSTALLED_APPS = [*INSTALLED_APPS, "tests.mav"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
