"""The project's typed settings, read each time they are used."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email
from django.utils.module_loading import import_string

from orbsite.storage.errors import InvalidKeys
from orbsite.storage.file.writer import SMALL
from orbsite.storage.sealing.envelope import Packing
from orbsite.storage.sealing.keys import KeyProvider, KeyRing, KeysFromFile, KeysFromText

_FEWEST_OF_A_KEY = 32
_RATE = re.compile(r"(?P<number>[1-9][0-9]{0,8})/(?P<seconds>[1-9][0-9]{0,8})s", re.ASCII)


class Persistence(StrEnum):
    """The store that `orbsite.persistence` uses."""

    MEMORY = "memory"
    FILE = "file"
    SQL = "sql"


def persistence() -> Persistence:
    """Return the store that ORB_PERSISTENCE names. Raises ImproperlyConfigured."""
    name = str(settings.ORB_PERSISTENCE)
    try:
        return Persistence.SQL if name == "database" else Persistence(name)
    except ValueError as problem:
        raise ImproperlyConfigured(
            f"ORB_PERSISTENCE is {name!r}; set it to memory, file or sql (database means sql)"
        ) from problem


def is_on_citus() -> bool:
    """Tell whether ORB_SQL_ENGINE says that the tables are spread over a cluster with Citus.

    Raises ImproperlyConfigured.
    """
    name = str(settings.ORB_SQL_ENGINE)
    if name not in ("", "postgresql", "citus"):
        raise ImproperlyConfigured(f"ORB_SQL_ENGINE is {name!r}; set it to citus, or leave it empty")
    return name == "citus"


def data_directory() -> Path:
    """Return the directory of the JSON files, which may not exist yet."""
    return Path(settings.ORB_DATA_DIR)


def backup_directory() -> Path:
    """Return the parent directory of all backups, which may not exist yet."""
    return Path(settings.ORB_BACKUP_DIR)


def backup_keys() -> list[str]:
    """Return the keys for backup signatures. The first key signs; every key verifies. Raises ImproperlyConfigured."""
    own = [key for key in re.split(r"[\s,]+", str(getattr(settings, "ORB_BACKUP_KEY", ""))) if key]
    try:
        return [*own, settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    except ImproperlyConfigured as problem:  # a plain script has none
        if own:
            return own
        message = "a backup needs a key that signs it; set SECRET_KEY or ORB_BACKUP_KEY, or make a home: orb init"
        raise ImproperlyConfigured(message) from problem


def requires_signature() -> bool:
    """Tell whether restore refuses a backup without a signature."""
    return bool(getattr(settings, "ORB_BACKUP_REQUIRE_SIGNATURE", False))


def journal_above() -> int | None:
    """Return the size in bytes up to which every save rewrites the whole document; None rewrites at any size.

    Raises ImproperlyConfigured.
    """
    value = str(settings.ORB_JOURNAL).strip()
    if value == "never":
        return None
    if value and not value.isdecimal():
        raise ImproperlyConfigured(
            f"ORB_JOURNAL is {value!r}; set it to a number of bytes, or to never where other programs share the files"
        )
    return int(value) if value else SMALL


def packing(*, allows_plain: bool = False) -> Packing:
    """Return how documents, journals and tombstones are stored. Raises ImproperlyConfigured.

    `allows_plain` also reads plain files where keys are configured, in order to seal them.
    """
    key_file = str(settings.ORB_KEY_FILE)
    try:
        changed = Path(key_file).stat().st_mtime_ns if key_file else 0
    except OSError:
        changed = 0
    return _packing(
        str(settings.ORB_COMPRESSION), str(settings.ORB_KEYS), key_file, str(settings.ORB_KEY_PROVIDER), changed,
        allows_plain=allows_plain,
    )  # fmt: skip


@lru_cache(maxsize=8)
def _packing(
    compression: str, text: str, key_file: str, provider: str, _changed: int, *, allows_plain: bool
) -> Packing:
    if compression not in ("none", "zstd"):
        raise ImproperlyConfigured(f"ORB_COMPRESSION is {compression!r}; set it to none or zstd")
    sources = {"ORB_KEYS": text, "ORB_KEY_FILE": key_file, "ORB_KEY_PROVIDER": provider}
    named = [name for name, value in sources.items() if value]
    if len(named) > 1:
        raise ImproperlyConfigured(f"{' and '.join(named)} are set; keys come from one place, so unset the others")
    try:
        keys = _provider(text, key_file, provider).keys()
        ring = KeyRing(keys) if keys else None
    except InvalidKeys as problem:
        raise ImproperlyConfigured(f"{(named or ['ORB_KEYS'])[0]} cannot be used: {problem}") from problem
    return Packing(is_compressed=compression == "zstd", keys=ring, allows_plain=allows_plain)


def _provider(text: str, key_file: str, provider: str) -> KeyProvider:
    if not provider:
        return KeysFromFile(Path(key_file)) if key_file else KeysFromText(text)
    try:
        made: KeyProvider = import_string(provider)()
    except ImportError as problem:
        raise ImproperlyConfigured(f"ORB_KEY_PROVIDER {provider!r} cannot be imported: {problem}") from problem
    return made


def allow_network_fs() -> bool:
    """Tell whether files may be on a network file system, where locks are unreliable."""
    return bool(settings.ORB_ALLOW_NETWORK_FS)


def keep_backups_days() -> int | None:
    """Return the number of days to keep backups; None keeps them forever. The newest backup is always kept.

    Raises ImproperlyConfigured.
    """
    value = str(settings.ORB_KEEP_BACKUPS_DAYS).strip()
    if value and not value.isdecimal():
        raise ImproperlyConfigured(f"ORB_KEEP_BACKUPS_DAYS is {value!r}; set it to a number of days, or leave it empty")
    return int(value) if value else None


def undo_days() -> int:
    """Return the number of days for which removed records can be restored and finished work is listed."""
    return int(settings.ORB_UNDO_DAYS)


def most_upload_bytes() -> int:
    """Return the maximum size of an upload in bytes."""
    return int(settings.ORB_MAX_UPLOAD_BYTES)


def api_rate() -> tuple[int, int] | None:
    """Return the request limit of a token as (requests, seconds); None for no limit.

    Raises ImproperlyConfigured.
    """
    value = str(settings.ORB_API_RATE).strip()
    if value == "none":
        return None
    match = _RATE.fullmatch(value)
    if match is None:
        raise ImproperlyConfigured(f"ORB_API_RATE is {value!r}; write it as 1000/10s, or none")
    return int(match["number"]), int(match["seconds"])


def token_max_open_jobs() -> int | None:
    """Return the maximum number of open jobs per token; None for no limit. Raises ImproperlyConfigured.

    A job is open while it is queued or running.
    """
    return _limit("ORB_TOKEN_MAX_OPEN_JOBS")


def token_max_jobs_per_day() -> int | None:
    """Return the maximum number of jobs per token in 24 hours; None for no limit. Raises ImproperlyConfigured."""
    return _limit("ORB_TOKEN_MAX_JOBS_PER_DAY")


def token_max_bytes() -> int | None:
    """Return the maximum size in bytes of a token's exports and backups; None for no limit.

    Raises ImproperlyConfigured.
    """
    return _limit("ORB_TOKEN_MAX_BYTES")


def keep_exports_days() -> int | None:
    """Return the number of days to keep the exports of jobs; None keeps them forever. Raises ImproperlyConfigured."""
    return _limit("ORB_KEEP_EXPORTS_DAYS")


def _limit(name: str) -> int | None:
    value = str(getattr(settings, name)).strip()
    if value == "none":
        return None
    if not (value.isascii() and value.isdecimal()) or int(value) == 0:
        raise ImproperlyConfigured(f"{name} is {value!r}; set it to a number from 1 on, or to none for no limit")
    return int(value)


def notified_emails() -> list[str]:
    """Return the addresses that alerts are mailed to; empty for none. Raises ImproperlyConfigured."""
    addresses = [one for one in re.split(r"[\s,]+", str(settings.ORB_NOTIFY_EMAILS)) if one]
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError as problem:
            raise ImproperlyConfigured(f"ORB_NOTIFY_EMAILS has {address!r}, which is no address of mail") from problem
    return addresses


@dataclass(frozen=True, slots=True)
class Webhook:
    """The address that alerts are posted to, and the key that signs them."""

    url: str
    key: str = field(repr=False)


def webhook() -> Webhook | None:
    """Return the webhook for alerts; None for none. Raises ImproperlyConfigured."""
    url, key = str(settings.ORB_NOTIFY_WEBHOOK).strip(), str(settings.ORB_NOTIFY_WEBHOOK_KEY)
    if not url:
        return None
    parts = urlsplit(url)
    allowed = ("https", "http") if settings.DEBUG else ("https",)
    if parts.scheme not in allowed or not parts.hostname or parts.username is not None:
        raise ImproperlyConfigured(
            "ORB_NOTIFY_WEBHOOK has to be an https:// address without a user; http:// is allowed with DEBUG alone"
        )
    if len(key) < _FEWEST_OF_A_KEY:
        raise ImproperlyConfigured(
            f"ORB_NOTIFY_WEBHOOK_KEY has fewer than {_FEWEST_OF_A_KEY} characters; set a random key, "
            "and give it to the receiver"
        )
    return Webhook(url, key)


def admin_2fa() -> bool:
    """Tell whether the admin requires two-factor authentication."""
    return bool(settings.ORB_ADMIN_2FA)
