"""Django's settings of the server and of `manage.py`, read from the environment or from `.env` in the home."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from orbsite.conf.common_settings import *  # noqa: F403
from orbsite.conf.common_settings import DATABASES, HOME, ORB_BACKUP_DIR, ORB_DATA_DIR, env, path_of
from orbsite.conf.console_settings import *  # noqa: F403
from orbsite.conf.openapi_settings import SPECTACULAR
from orbsite.runtime.home import is_checkout
from orbsite.runtime.json_logging import logging_to_standard_error
from orbsite.runtime.startup_checks import refuse_what_is_unsafe

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="django-insecure-for-development-alone" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        f"SECRET_KEY is not set. Set it in the environment or in {HOME.settings / '.env'}; "
        + (
            "`make install` writes a .env for development."
            if is_checkout()
            else "run: orb init, which writes that file."
        )
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])

INSTALLED_APPS = [
    "orbsite.apps.OrbsiteConfig",  # before the admin, whose templates it extends
    "orbsite.admin.apps.ConsoleConfig",
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
    "orbsite.web.usage.counted",
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
STATIC_URL = "/static/"
STATIC_ROOT = path_of("ORB_STATIC_ROOT", ".static")
if not DEBUG:
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "orbsite.runtime.static_storage.StaticStorage"},
    }

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
SPECTACULAR_SETTINGS = SPECTACULAR

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
