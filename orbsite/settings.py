"""Django's settings, read from the environment or from `.env` beside manage.py."""

from __future__ import annotations

import io
from pathlib import Path

import django
import environ
from django.core.exceptions import ImproperlyConfigured

from orbsite.runtime.environment import dotenv_text, path_setting
from orbsite.runtime.json_logging import logging_to_standard_error
from orbsite.runtime.startup_checks import refuse_what_is_unsafe

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
if (BASE_DIR / ".env").is_file():
    env.read_env(io.StringIO(dotenv_text(BASE_DIR / ".env")))


def _path(name: str, default: str) -> Path:
    return path_setting(name, env.str(name, default="") or default, BASE_DIR)


DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="django-insecure-for-development-alone" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Set it in the environment or in .env beside manage.py; "
        "`make install` writes a .env for development."
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])

# An empty variable counts as unset.
ORB_PERSISTENCE = env.str("ORB_PERSISTENCE", default="") or ("sql" if env.str("DATABASE_URL", default="") else "file")
ORB_DATA_DIR = _path("ORB_DATA_DIR", ".orb-data")
ORB_BACKUP_DIR = _path("ORB_BACKUP_DIR", ".orb-backups")
ORB_BACKUP_KEY = env.str("ORB_BACKUP_KEY", default="")
ORB_BACKUP_REQUIRE_SIGNATURE = env.bool("ORB_BACKUP_REQUIRE_SIGNATURE", default=False)
ORB_COMPRESSION = env.str("ORB_COMPRESSION", default="none")
ORB_KEYS = env.str("ORB_KEYS", default="")
ORB_KEY_FILE = env.str("ORB_KEY_FILE", default="")
ORB_KEY_PROVIDER = env.str("ORB_KEY_PROVIDER", default="")
ORB_JOURNAL = env.str("ORB_JOURNAL", default="")
ORB_KEEP_BACKUPS_DAYS = env.str("ORB_KEEP_BACKUPS_DAYS", default="")
ORB_KEEP_EXPORTS_DAYS = env.str("ORB_KEEP_EXPORTS_DAYS", default="") or "30"
ORB_TOKEN_MAX_OPEN_JOBS = env.str("ORB_TOKEN_MAX_OPEN_JOBS", default="") or "20"
ORB_TOKEN_MAX_JOBS_PER_DAY = env.str("ORB_TOKEN_MAX_JOBS_PER_DAY", default="") or "1000"
ORB_TOKEN_MAX_BYTES = env.str("ORB_TOKEN_MAX_BYTES", default="") or str(10 * 1024**3)
ORB_UNDO_DAYS = int(env.str("ORB_UNDO_DAYS", default="") or 30)
ORB_ALLOW_NETWORK_FS = env.bool("ORB_ALLOW_NETWORK_FS", default=False)
ORB_API_RATE = env.str("ORB_API_RATE", default="") or "1000/10s"
ORB_API_MAX_BYTES = int(env.str("ORB_API_MAX_BYTES", default="") or 10 * 1024 * 1024)
ORB_API_MAX_VALUES = int(env.str("ORB_API_MAX_VALUES", default="") or 200_000)
ORB_API_MAX_ITEMS = int(env.str("ORB_API_MAX_ITEMS", default="") or 1_000)
ORB_API_PAGE_BYTES = int(env.str("ORB_API_PAGE_BYTES", default="") or 16 * 1024 * 1024)
ORB_MAX_UPLOAD_BYTES = int(env.str("ORB_MAX_UPLOAD_BYTES", default="") or 256 * 1024 * 1024)
ORB_API_REQUIRE_IF_MATCH = env.bool("ORB_API_REQUIRE_IF_MATCH", default=False)
ORB_MIN_FREE_BYTES = int(env.str("ORB_MIN_FREE_BYTES", default="") or 100 * 1024 * 1024)
ORB_MAX_JOURNAL_BYTES = int(env.str("ORB_MAX_JOURNAL_BYTES", default="") or 1024 * 1024 * 1024)

INSTALLED_APPS = [
    "orbsite.apps.OrbsiteConfig",  # before the admin, whose templates it extends
    "orbsite.apps.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_tasks_db",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "luna",
    "te",
]

DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000  # a list of 500 objects, row by row

MIDDLEWARE = [
    "orbsite.web.middleware.tracked",
    "django.middleware.security.SecurityMiddleware",
    *([] if DEBUG else ["whitenoise.middleware.WhiteNoiseMiddleware"]),  # runserver serves static files itself
    "orbsite.web.middleware.ContentSecurityPolicy",
    "orbsite.web.middleware.strict",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "orbsite.web.middleware.authorised",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
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
        "DATABASE_URL is not a valid database URL; write it as postgres://user:password@host:5432/name "
        "or sqlite:////path/to/file"
    ) from problem
match DATABASES["default"]["ENGINE"]:
    case "django.db.backends.sqlite3":
        # Django's default loses acknowledged commits at a power failure; EXTRA also syncs the directory.
        DATABASES["default"]["ENGINE"] = "orbsite.runtime.sqlite"
        if DATABASES["default"]["NAME"].startswith("~"):
            DATABASES["default"]["NAME"] = str(path_setting("DATABASE_URL", DATABASES["default"]["NAME"], BASE_DIR))
        DATABASES["default"]["CREATES_FILE"] = False  # only `manage.py migrate` does
        DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
        DATABASES["default"].setdefault("CONN_MAX_AGE", 600)  # connecting takes longer than reading a page
        DATABASES["default"]["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;",
        }
    case "django.db.backends.postgresql":
        # Limits for waiting. Options in the query string of DATABASE_URL take precedence.
        limits = {
            "lock_timeout": "10s",
            "idle_in_transaction_session_timeout": "10min",  # a migration run reads files within its transactions
            "statement_timeout": env.str("ORB_STATEMENT_TIMEOUT", default="") or "0",
        }
        DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
        DATABASES["default"].setdefault("CONN_MAX_AGE", 600)  # server threads reuse connections between requests
        DATABASES["default"]["OPTIONS"] = {
            "connect_timeout": 10,
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
            **DATABASES["default"].get("OPTIONS", {}),
        }

# The queue of background tasks: the database, or another backend, given by its class path.
_TASKS_PACKAGE = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
_TASK_BACKENDS = {
    "db": "django_tasks_db.DatabaseBackend",
    "immediate": f"{_TASKS_PACKAGE}.backends.immediate.ImmediateBackend",
}
_task_backend = env.str("ORB_TASKS_BACKEND", default="") or "db"
TASKS = {
    "default": {
        "BACKEND": _TASK_BACKENDS.get(_task_backend, _task_backend),
        "OPTIONS": env.json("ORB_TASKS_OPTIONS", default={}),
    }
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
STATIC_URL = "/static/"
STATIC_ROOT = _path("ORB_STATIC_ROOT", ".static")
if not DEBUG:
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "orbsite.runtime.static_storage.StaticStorage"},
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["orbsite.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["orbsite.api.permissions.TokenMay"],
    "DEFAULT_RENDERER_CLASSES": ["orbsite.api.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["orbsite.api.parsers.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "orbsite.api.schema.OrbSchema",
    "EXCEPTION_HANDLER": "orbsite.api.problems.handler",
    "URL_FORMAT_OVERRIDE": None,
    "NUM_PROXIES": env.int("ORB_PROXIES", default=0),
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Orb persistence",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "DESCRIPTION": "Preferences and reflections of a personal assistant's users, and operations on them.",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "string", "pattern": "^~?[A-Za-z0-9_@.:-]+$"}},
    "POSTPROCESSING_HOOKS": ["orbsite.api.schema.finish"],
}

# Failed logins are throttled; `orbsite.admin.auth.login_throttling` has the rules.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_HANDLER = "orbsite.admin.auth.login_throttling.Handler"
AXES_FAILURE_LIMIT = 10  # per user name and network
AXES_COOLOFF_TIME = 24  # hours, after which failed logins are forgotten
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # attempts while locked out must not extend the lockout
AXES_CLIENT_IP_CALLABLE = "orbsite.runtime.client_ip.network_of"
AXES_VERBOSE = False

# Two-factor authentication of the admin, and its name in authenticator apps.
ORB_ADMIN_2FA = env.bool("ORB_ADMIN_2FA", default=False)
OTP_TOTP_ISSUER = "Orb persistence"

# Security headers and cookies. HTTPS is required unless ORB_HTTPS is false.
_YEAR = 31_536_000
_HTTPS = env.bool("ORB_HTTPS", default=not DEBUG)
_HSTS = env.int("ORB_HSTS_SECONDS", default=_YEAR)
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _HTTPS
SECURE_REDIRECT_EXEMPT = ["^livez$", "^readyz$"]
SECURE_HSTS_SECONDS = _HSTS if _HTTPS else 0
# Both affect other hosts than this one, and preload cannot be undone for months, so they are off by default.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("ORB_HSTS_SUBDOMAINS", default=False) and SECURE_HSTS_SECONDS > 0
SECURE_HSTS_PRELOAD = env.bool("ORB_HSTS_PRELOAD", default=False) and SECURE_HSTS_SECONDS > 0
if SECURE_HSTS_PRELOAD and not (SECURE_HSTS_INCLUDE_SUBDOMAINS and SECURE_HSTS_SECONDS >= _YEAR):
    raise ImproperlyConfigured(
        f"ORB_HSTS_PRELOAD requires ORB_HSTS_SUBDOMAINS=true and ORB_HSTS_SECONDS={_YEAR} (a year) or more, because "
        "browsers accept no other sites into their preload lists"
    )
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # they demand both settings
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.int("ORB_PROXIES", default=0) else None
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 8 * 60 * 60  # seconds, after which the password is needed again, regardless of activity
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}

if not DEBUG:
    LOGGING = logging_to_standard_error(env.str("ORB_LOG_LEVEL", default="") or "INFO")
    refuse_what_is_unsafe(
        secret_key=SECRET_KEY,
        hosts=ALLOWED_HOSTS,
        database=DATABASES["default"],
        allow_sqlite=env.bool("ORB_ALLOW_SQLITE", default=False),
        data_directory=ORB_DATA_DIR,
        backup_directory=ORB_BACKUP_DIR,
        served=[STATIC_ROOT],
    )
