"""Django's settings, from the environment or from `.env` beside manage.py."""

from __future__ import annotations

from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
if (BASE_DIR / ".env").is_file():
    env.read_env(BASE_DIR / ".env")

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="django-insecure-for-development-alone" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Set it in the environment or in .env beside manage.py; "
        "`make install` writes a .env for development."
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])

# An empty variable is one that is not set.
ORB_PERSISTENCE = env.str("ORB_PERSISTENCE", default="") or ("sql" if env.str("DATABASE_URL", default="") else "file")
ORB_DATA_DIR = BASE_DIR / (env.str("ORB_DATA_DIR", default="") or ".orb-data")
ORB_BACKUP_DIR = BASE_DIR / (env.str("ORB_BACKUP_DIR", default="") or ".orb-backups")
ORB_JOURNAL = env.str("ORB_JOURNAL", default="")
ORB_ALLOW_NETWORK_FS = env.bool("ORB_ALLOW_NETWORK_FS", default=False)

INSTALLED_APPS = [
    "orbsite.apps.OrbsiteConfig",  # before the admin, whose templates it extends
    "orbsite.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "luna",
    "te",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "orbsite.urls"
WSGI_APPLICATION = "orbsite.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

try:
    DATABASES = {
        "default": env.db_url_config(env.str("DATABASE_URL", default="") or f"sqlite:///{BASE_DIR}/db.sqlite3")
    }
    DATABASES["default"]["ENGINE"]
except (KeyError, ValueError) as problem:
    raise ImproperlyConfigured(
        "DATABASE_URL is no address of a database; write it as postgres://user:password@host:5432/name "
        "or sqlite:////path/to/file"
    ) from problem
match DATABASES["default"]["ENGINE"]:
    case "django.db.backends.sqlite3":
        # Django's own choice loses acknowledged commits when the power goes; EXTRA syncs the directory too.
        DATABASES["default"]["ENGINE"] = "orbsite.sqlite"
        DATABASES["default"]["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;",
        }
    case "django.db.backends.postgresql":
        # Nobody waits for ever; what DATABASE_URL says after its question mark comes first.
        limits = {
            "lock_timeout": "10s",
            "idle_in_transaction_session_timeout": "10min",  # a migration reads files within its transactions
            "statement_timeout": env.str("ORB_STATEMENT_TIMEOUT", default="") or "0",
        }
        DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
        DATABASES["default"]["OPTIONS"] = {
            "connect_timeout": 10,
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
            **DATABASES["default"].get("OPTIONS", {}),
        }

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
