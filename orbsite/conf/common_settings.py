"""The settings that scripts, commands and servers share, read from the environment or from `.env` in the home."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import django
import environ
from django.core.exceptions import ImproperlyConfigured

from orbsite.conf.defaults import DEFAULTS
from orbsite.conf.postgresql_settings import pooled, replica, with_limits
from orbsite.runtime.environment import dotenv_text, path_setting
from orbsite.runtime.home import find_home

_MAIL_TIMEOUT = 10
"""Seconds to wait for the mail server."""

HOME = find_home()

env = environ.Env()
if (HOME.settings / ".env").is_file():
    env.read_env(io.StringIO(dotenv_text(HOME.settings / ".env")))


def path_of(name: str, default: str) -> Path:
    """Return the path in a variable, relative to the home. Raises ImproperlyConfigured."""
    return path_setting(name, env.str(name, default="") or default, HOME.data)


def _text(name: str) -> str:
    return str(env.str(name, default="") or DEFAULTS[name])


def _number(name: str) -> int:
    return int(env.str(name, default="") or DEFAULTS[name])


def _flag(name: str) -> bool:
    return bool(env.bool(name, default=DEFAULTS[name]))


# An empty variable counts as unset.
ORB_PERSISTENCE = env.str("ORB_PERSISTENCE", default="") or ("sql" if env.str("DATABASE_URL", default="") else "file")
ORB_SQL_ENGINE = _text("ORB_SQL_ENGINE")
ORB_DATA_DIR = path_of("ORB_DATA_DIR", DEFAULTS["ORB_DATA_DIR"])
ORB_BACKUP_DIR = path_of("ORB_BACKUP_DIR", DEFAULTS["ORB_BACKUP_DIR"])
ORB_BACKUP_KEY = _text("ORB_BACKUP_KEY")
ORB_BACKUP_REQUIRE_SIGNATURE = _flag("ORB_BACKUP_REQUIRE_SIGNATURE")
ORB_COMPRESSION = _text("ORB_COMPRESSION")
ORB_KEYS = _text("ORB_KEYS")
ORB_KEY_FILE = _text("ORB_KEY_FILE")
ORB_KEY_PROVIDER = _text("ORB_KEY_PROVIDER")
ORB_JOURNAL = _text("ORB_JOURNAL")
ORB_KEEP_BACKUPS_DAYS = _text("ORB_KEEP_BACKUPS_DAYS")
ORB_KEEP_EXPORTS_DAYS = _text("ORB_KEEP_EXPORTS_DAYS")
ORB_TOKEN_MAX_OPEN_JOBS = _text("ORB_TOKEN_MAX_OPEN_JOBS")
ORB_TOKEN_MAX_JOBS_PER_DAY = _text("ORB_TOKEN_MAX_JOBS_PER_DAY")
ORB_TOKEN_MAX_BYTES = _text("ORB_TOKEN_MAX_BYTES")
ORB_UNDO_DAYS = _number("ORB_UNDO_DAYS")
ORB_ALLOW_NETWORK_FS = _flag("ORB_ALLOW_NETWORK_FS")
ORB_API_RATE = _text("ORB_API_RATE")
ORB_USAGE_SECONDS = _number("ORB_USAGE_SECONDS")
ORB_API_MAX_BYTES = _number("ORB_API_MAX_BYTES")
ORB_API_MAX_VALUES = _number("ORB_API_MAX_VALUES")
ORB_API_MAX_ITEMS = _number("ORB_API_MAX_ITEMS")
ORB_API_PAGE_BYTES = _number("ORB_API_PAGE_BYTES")
ORB_MAX_UPLOAD_BYTES = _number("ORB_MAX_UPLOAD_BYTES")
ORB_API_REQUIRE_IF_MATCH = _flag("ORB_API_REQUIRE_IF_MATCH")
ORB_MIN_FREE_BYTES = _number("ORB_MIN_FREE_BYTES")
ORB_MAX_JOURNAL_BYTES = _number("ORB_MAX_JOURNAL_BYTES")
ORB_ADMIN_2FA = _flag("ORB_ADMIN_2FA")
ORB_NOTIFY_EMAILS = _text("ORB_NOTIFY_EMAILS")
ORB_NOTIFY_WEBHOOK = _text("ORB_NOTIFY_WEBHOOK")
ORB_NOTIFY_WEBHOOK_KEY = _text("ORB_NOTIFY_WEBHOOK_KEY")


def _mailer(address: dict[str, Any]) -> dict[str, Any]:
    """Return mail settings as an entry of MAILERS, which Django 6.1 has in their place."""
    options = {
        "host": address["EMAIL_HOST"],
        "port": address["EMAIL_PORT"],
        "username": address["EMAIL_HOST_USER"],
        "password": address["EMAIL_HOST_PASSWORD"],
        "use_tls": address.get("EMAIL_USE_TLS"),
        "use_ssl": address.get("EMAIL_USE_SSL"),
        "timeout": _MAIL_TIMEOUT if address["EMAIL_HOST"] else None,
        "file_path": address["EMAIL_FILE_PATH"],
    }
    return {"BACKEND": address["EMAIL_BACKEND"], "OPTIONS": {name: value for name, value in options.items() if value}}


# The mail server, from one address such as smtp+tls://name:password@mail.example:587. Django 6.1 has MAILERS for it.
_mail = env.email_url_config(env.str("EMAIL_URL", default="") or "smtp://localhost:25")
if django.VERSION >= (6, 1):
    MAILERS = {"default": _mailer(_mail)}
else:
    vars().update(_mail, EMAIL_TIMEOUT=_MAIL_TIMEOUT)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="") or "orb-persistence@localhost"


def _database(name: str) -> dict[str, Any] | None:
    """Return the settings of the database whose address is in a variable; None if it is unset."""
    address = env.str(name, default="")
    return _settings_of(name, address) if address else None


def _settings_of(name: str, address: str) -> dict[str, Any]:
    try:
        database: dict[str, Any] = env.db_url_config(address)
        database["ENGINE"]
    except (KeyError, ValueError) as problem:
        raise ImproperlyConfigured(
            f"{name} is not a valid database URL; write it as postgres://user:password@host:5432/name "
            "or sqlite:////path/to/file"
        ) from problem
    return database


_SQLITE: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(HOME.data / "db.sqlite3")}
DATABASES = {"default": _database("DATABASE_URL") or _SQLITE}
_DIRECT = _database("DATABASE_DIRECT_URL")
if _DIRECT is not None and {_DIRECT["ENGINE"], DATABASES["default"]["ENGINE"]} != {"django.db.backends.postgresql"}:
    raise ImproperlyConfigured(
        "DATABASE_DIRECT_URL is the address of the PostgreSQL database in DATABASE_URL without its connection pooler; "
        "set both of them to addresses of that database, or leave DATABASE_DIRECT_URL unset"
    )
match DATABASES["default"]["ENGINE"]:
    case "django.db.backends.sqlite3":
        # Django's default loses acknowledged commits at a power failure; EXTRA also syncs the directory.
        DATABASES["default"]["ENGINE"] = "orbsite.runtime.sqlite"
        if DATABASES["default"]["NAME"].startswith("~"):
            DATABASES["default"]["NAME"] = str(path_setting("DATABASE_URL", DATABASES["default"]["NAME"], HOME.data))
        DATABASES["default"]["CREATES_FILE"] = False  # only `manage.py migrate` does
        DATABASES["default"].setdefault("CONN_HEALTH_CHECKS", True)
        DATABASES["default"].setdefault("CONN_MAX_AGE", 600)  # connecting takes longer than reading a page
        DATABASES["default"]["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;",
        }
    case "django.db.backends.postgresql":
        _longest = env.str("ORB_STATEMENT_TIMEOUT", default="")
        DATABASES["default"] = (
            with_limits(DATABASES["default"], statement_timeout=_longest)
            if _DIRECT is None
            else pooled(DATABASES["default"], with_limits(_DIRECT, statement_timeout=_longest))
        )

_REPLICAS = [_settings_of("DATABASE_REPLICA_URLS", url) for url in env.str("DATABASE_REPLICA_URLS", default="").split()]
if _REPLICAS and {one["ENGINE"] for one in (DATABASES["default"], *_REPLICAS)} != {"django.db.backends.postgresql"}:
    raise ImproperlyConfigured(
        "DATABASE_REPLICA_URLS are the addresses of standbys of the PostgreSQL database in DATABASE_URL, separated by "
        "spaces; set both, or leave DATABASE_REPLICA_URLS unset"
    )
DATABASES |= {
    f"replica-{number}": replica(one, statement_timeout=env.str("ORB_STATEMENT_TIMEOUT", default=""))
    for number, one in enumerate(_REPLICAS, 1)
}
DATABASE_ROUTERS = ["orbsite.storage.postgresql.router.ReplicaRouter"] if _REPLICAS else []

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

TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
