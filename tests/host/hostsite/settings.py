"""Settings of somebody else's project: its own users, databases, keys, API settings, language and time zone.

What the docs tell to add is marked with `orb`. HOST_ADMIN=ours takes the admin site of orb-persistence.
"""

import os
from pathlib import Path

HAS_OUR_ADMIN = os.environ.get("HOST_ADMIN") == "ours"
if HAS_OUR_ADMIN:
    from orbsite.conf.console_settings import *  # noqa: F403  # orb: for its admin

BASE_DIR = Path(os.environ["HOST_DIRECTORY"])
SECRET_KEY = "a-key-of-the-host-" + "x" * 40
DEBUG = False
ALLOWED_HOSTS = ["testserver"]
AUTH_USER_MODEL = "people.Person"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = os.environ.get("HOST_USE_TZ", "true") == "true"
TIME_ZONE = "Asia/Kathmandu"
LANGUAGE_CODE = "de"
ROOT_URLCONF = "hostsite.urls"

INSTALLED_APPS = [
    "orbsite",  # orb
    "luna",  # orb
    "te",  # orb
    "people",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",  # orb: for the API
    "drf_spectacular",  # orb: for its documentation
    *(
        ["orbsite.admin.apps.ConsoleConfig", "axes", "django_otp", "django_otp.plugins.otp_totp"]  # orb: for its admin
        if HAS_OUR_ADMIN
        else ["django.contrib.admin"]
    ),
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    *(["django_otp.middleware.OTPMiddleware"] if HAS_OUR_ADMIN else []),  # orb: for its admin
    "django.contrib.messages.middleware.MessageMiddleware",
    *(["axes.middleware.AxesMiddleware"] if HAS_OUR_ADMIN else []),  # orb: for its admin
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    name: {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / f"{name}.sqlite3",
        "TEST": {"NAME": f"file:{name}?mode=memory&cache=shared"},
    }
    for name in ("default", "archive")
}
DATABASE_ROUTERS = ["hostsite.routers.Elsewhere"] if os.environ.get("HOST_ROUTER") else []
STATIC_URL = "/files/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.BrowsableAPIRenderer"],
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "hostsite.views.handler",
}
SPECTACULAR_SETTINGS = {"TITLE": "The API of the host", "VERSION": "7"}
ORB_API_MAX_ITEMS = 3  # orb: all of its settings have defaults
