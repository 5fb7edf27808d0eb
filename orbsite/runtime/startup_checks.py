"""Checks the settings at a start in production, and refuses those that endanger data."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured

from orbsite.runtime import static_root
from orbsite.runtime.home import program
from orbsite.runtime.key_strength import estimated_bits
from orbsite.runtime.public_suffixes import is_public_suffix

_SHORTEST_KEY = 50
_FEWEST_CHARACTERS = 5
_FEWEST_BITS = 60
MAKE_A_KEY = "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
_EXAMPLES = ("django-insecure-", "change", "example", "secret", "your-")
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def refuse_what_is_unsafe(
    *,
    secret_key: str,
    hosts: list[str],
    database: dict[str, Any],
    allow_sqlite: bool,
    data_directory: Path,
    backup_directory: Path,
    served: Iterable[Path],
) -> None:
    """Raise ImproperlyConfigured for the first unsafe setting, with the change to make. Not called with DEBUG."""
    _check_key(secret_key)
    _check_hosts(hosts)
    if "sqlite" in database["ENGINE"] and not allow_sqlite:
        _refuse(
            "the database is SQLite, which only one host can use; set DATABASE_URL to a PostgreSQL database, or set "
            "ORB_ALLOW_SQLITE=true to use SQLite"
        )
    private = {"ORB_DATA_DIR": data_directory, "ORB_BACKUP_DIR": backup_directory}
    if "sqlite" in database["ENGINE"]:
        private["the database"] = Path(database["NAME"])
    for name, place in private.items():
        _check_place(name, place, served)
    for name, place in (("ORB_DATA_DIR", data_directory), ("ORB_BACKUP_DIR", backup_directory)):
        if place.is_dir() and place.stat().st_mode & _WRITABLE_BY_OTHERS:
            _refuse(f"other users may write to {name}; run: chmod 700 {place}")
    for place in served:
        _check_served(place)


def _check_served(place: Path) -> None:
    """Refuse a static directory with files that collectstatic did not write, because all of them would be served."""
    if not place.exists():
        return
    if name := static_root.foreign(place):
        _refuse(
            f"{place} is public, but contains {name!r}, which collectstatic did not write; move that file away, or set "
            f"ORB_STATIC_ROOT to another directory, then run: {program()} collectstatic"
        )
    if path := static_root.writable_by_all(place):
        _refuse(f"all users may write to {path}, which is public; run: chmod -R go-w {place}")


def _check_place(name: str, private: Path, served: Iterable[Path]) -> None:
    for place in served:
        if private.resolve().is_relative_to(place.resolve()):
            _refuse(f"{name} is inside {place}, which is public; choose a path outside of that directory")


def _check_key(key: str) -> None:
    if len(key) < _SHORTEST_KEY or len(set(key)) < _FEWEST_CHARACTERS:
        _refuse(
            f"SECRET_KEY has less than {_SHORTEST_KEY} characters or too few different ones; create one: {MAKE_A_KEY}"
        )
    if key.lower().startswith(_EXAMPLES):
        _refuse(f"SECRET_KEY is an example value; create one: {MAKE_A_KEY}")
    if estimated_bits(key) < _FEWEST_BITS:
        _refuse(f"SECRET_KEY has repetitions or sequences and can be guessed; create one: {MAKE_A_KEY}")


def _check_hosts(hosts: list[str]) -> None:
    if not hosts:
        _refuse("ALLOWED_HOSTS is empty; list the host names of this site, such as orb.example.org")
    if any(host.strip() in ("*", ".") for host in hosts):
        _refuse("ALLOWED_HOSTS allows every host; list the host names of this site, such as orb.example.org")
    for host in hosts:
        if is_public_suffix(host):
            _refuse(
                f"ALLOWED_HOSTS allows every host under {host.strip()}, which is a public suffix; list the host names "
                "of this site, such as orb.example.org"
            )


def _refuse(reason: str) -> NoReturn:
    raise ImproperlyConfigured(f"{reason} (DEBUG=true skips this check)")
