"""Django's settings of a plain script, which needs the records and their stores alone: no admin, no API, no users."""

from __future__ import annotations

from orbsite.conf.common_settings import *  # noqa: F403
from orbsite.conf.common_settings import env

SECRET_KEY = env.str("SECRET_KEY", default="")
INSTALLED_APPS = ["orbsite.apps.OrbsiteConfig", "luna", "te"]
LOGGING_CONFIG = None  # the script decides what it logs
