"""The project's settings, with memory as the store, and a database of each kind."""

from __future__ import annotations

import os
import tempfile

from tests.support.shared_run import backup_directory

os.environ |= {"DEBUG": "false", "SECRET_KEY": "for-tests-alone-" + "x" * 50, "ALLOWED_HOSTS": "testserver,localhost"}
os.environ |= {
    "ORB_ALLOW_SQLITE": "true",
    "ORB_HTTPS": "false",
    "ORB_API_RATE": "none",
    "ORB_USAGE_SECONDS": "0",  # no thread writes to a database that a test has
}
os.environ.setdefault("ORB_PERSISTENCE", "memory")
os.environ.setdefault("ORB_TASKS_BACKEND", "immediate")  # a job is done by whoever starts it, once that is committed

os.environ["ORB_BACKUP_DIR"] = backup_directory()  # in the environment, so that programs that tests start have it too

from orbsite.settings import *  # noqa: F403
from orbsite.settings import DATABASES, INSTALLED_APPS, MIDDLEWARE, env
from orbsite.storage.file import document
from tests.support.time_limits import time_limit

DATABASES["default"] = env.db_url_config(f"sqlite:///{tempfile.gettempdir()}/unused-by-tests.sqlite3")
DATABASES["default"]["ENGINE"] = "orbsite.runtime.sqlite"
# In memory. Each worker of the suite appends a suffix to the name, which is a parameter that SQLite does not know.
DATABASES["default"]["TEST"] = {"NAME": "file:orb_tests?mode=memory&cache=shared&worker="}
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": time_limit(20)}
DATABASES["postgresql"] = {"ENGINE": "django.db.backends.postgresql", "NAME": "orb", "USER": "orb"}

if os.environ.get("ORB_TEST_CITUS"):  # the whole suite on a cluster, see docs/how-to/several-servers.md
    DATABASES["default"] = env.db_url_config(os.environ["ORB_TEST_CITUS"])
    DATABASES["postgresql"] = {**DATABASES["default"], "TEST": {"MIRROR": "default"}}

document.LOCK_TIMEOUT = time_limit(document.LOCK_TIMEOUT)  # beside seven others and a load, a save waits long

INSTALLED_APPS = [*INSTALLED_APPS, "tests.mav"]
MIDDLEWARE = [one for one in MIDDLEWARE if not one.startswith("whitenoise")]  # no static files are collected
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
