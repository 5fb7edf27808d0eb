"""The data keys of users, each sealed with a key of the installation. A destroyed key opens nothing any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from threading import Lock

from django.db import DatabaseError, connections, models, transaction

from orbsite.storage.clock import utc_now
from orbsite.storage.errors import KeyUnavailable
from orbsite.storage.records.sealed_columns import UserKeys
from orbsite.storage.sealing.cells import DataKey, unwrapped, wrapped
from orbsite.storage.sealing.envelope import Packing
from orbsite.storage.sql.models import KeyField

_KEPT_SECONDS, _KEPT_KEYS = 60.0, 10_000
"""How long and how many opened keys are kept in memory; the key of an erased user opens nothing after that time."""
_AT_A_TIME = 500
_LOCK = "SELECT id FROM orb_user_keys WHERE user_id = ANY(%s) AND destroyed_at IS NULL ORDER BY id FOR SHARE"


class UserKey(models.Model):
    """The data key of one user. A user may have several, made by writers at the same time; each opens what it sealed.

    The row of a destroyed key stays without key and user, so that no backup brings the key back.
    """

    id = models.CharField(primary_key=True, max_length=16, help_text="Its id, which everything names that it sealed.")
    user_id = KeyField(blank=True, help_text="The user whose texts it seals; empty without a user, and if destroyed.")
    wrapped = models.BinaryField(null=True, help_text="The key, sealed with the installation's key; empty: destroyed.")
    wrapped_by = models.CharField(max_length=32, blank=True, help_text="The id of the installation's key.")
    created_at = models.DateTimeField()
    destroyed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "orb_user_keys"
        indexes = [
            models.Index(fields=["user_id"], condition=models.Q(destroyed_at=None), name="orb_user_keys_user"),
            models.Index(fields=["wrapped_by", "id"], name="orb_user_keys_wrapped"),
        ]

    def __str__(self) -> str:
        return f"data key {self.id}"

    def opened(self, packing: Packing) -> DataKey:
        """Return the key itself. Raises KeyUnavailable, DocumentCorrupt."""
        return unwrapped(self.id, self.user_id, bytes(self.wrapped or b""), packing.keys)


class StoredUserKeys(UserKeys):
    """The data keys in the tables of the database whose texts they seal."""

    def __init__(self, packing: Callable[[], Packing]) -> None:
        self._packing = packing
        self._opened: dict[tuple[str, str], tuple[float, DataKey]] = {}
        self._plain_until: dict[str, float] = {}
        """Until when each database need not be asked again whether it has sealed texts."""
        self._lock = Lock()

    @property
    def is_configured(self) -> bool:
        """Whether there is a key that seals data keys."""
        return self._packing().active is not None

    def of_users(self, users: Collection[str], using: str) -> Mapping[str, DataKey]:
        """Return a key of each user, in the caller's transaction; keys that are missing are made."""
        packing, found = self._packing(), dict[str, DataKey]()
        wanted = sorted(users)
        for start in range(0, len(wanted), _AT_A_TIME):
            for row in _of_users(wanted[start : start + _AT_A_TIME], using):
                if row.user_id not in found:
                    found[row.user_id] = self._open(row, packing, using)
        made = {user: DataKey.new() for user in wanted if user not in found}
        if made:
            _keep(made, packing, using)
        return found | made

    def named(self, ids: Collection[str], using: str) -> Mapping[str, DataKey]:
        """Return the keys with these ids that are not destroyed."""
        now, found = time.monotonic(), dict[str, DataKey]()
        for key_id in ids:
            until, key = self._opened.get((using, key_id), (0.0, None))
            if key is not None and until > now:
                found[key_id] = key
        missing, packing = [key_id for key_id in ids if key_id not in found], self._packing()
        for start in range(0, len(missing), _AT_A_TIME):
            part = missing[start : start + _AT_A_TIME]
            for row in UserKey.objects.using(using).filter(pk__in=part, destroyed_at=None):
                found[row.pk] = self._open(row, packing, using)
        return found

    def refuse_plain_writer(self, using: str) -> None:
        """Raise KeyUnavailable if there are data keys and no configured ones; that is looked up once in a minute."""
        if self.is_configured or self._plain_until.get(using, 0.0) > time.monotonic():
            return
        if UserKey.objects.using(using).filter(destroyed_at=None).exists():
            raise KeyUnavailable(
                f"the texts in the database {using!r} are sealed, and no keys are configured; nothing was changed. "
                "Set ORB_KEYS or ORB_KEY_FILE, or run seal_orb_data --unseal --apply with the keys"
            )
        self._plain_until[using] = time.monotonic() + _KEPT_SECONDS

    def forget(self) -> None:
        """Remove all that this process remembers of keys."""
        with self._lock:
            self._opened.clear()
            self._plain_until.clear()

    def _open(self, row: UserKey, packing: Packing, using: str) -> DataKey:
        key = row.opened(packing)
        with self._lock:
            if len(self._opened) >= _KEPT_KEYS:
                self._opened.clear()
            self._opened[using, row.id] = (time.monotonic() + _KEPT_SECONDS, key)
        return key


def _of_users(users: list[str], using: str) -> Iterable[UserKey]:
    """Return the keys of users. On PostgreSQL, an erasure waits for the caller's transaction before it destroys one."""
    keys = UserKey.objects.using(using)
    if connections[using].vendor != "postgresql":  # SQLite has one writer at a time
        return keys.filter(user_id__in=users, destroyed_at=None).order_by("user_id", "id")
    with connections[using].cursor() as cursor:
        cursor.execute(_LOCK, [users])
        ids = [key_id for (key_id,) in cursor.fetchall()]
    return keys.filter(pk__in=ids).order_by("user_id", "id")


def destroy(user: str, using: str, *, at: datetime, until: datetime | None = None) -> list[datetime]:
    """Destroy the keys of a user, or those made by `until`, and return when each was made.

    In the caller's transaction.
    """
    keys = UserKey.objects.using(using).filter(user_id=user, destroyed_at=None)
    keys = keys if until is None else keys.filter(created_at__lte=until)
    made = list(keys.select_for_update().values_list("created_at", flat=True))
    keys.update(wrapped=None, wrapped_by="", user_id="", destroyed_at=at)
    return made


def rewrap(rows: Sequence[UserKey], packing: Packing, using: str) -> int:
    """Seal data keys with the first key of the installation; return how many were not destroyed meanwhile.

    Raises KeyUnavailable, DocumentCorrupt.
    """
    if packing.active is None:
        raise KeyUnavailable("no keys are configured; set ORB_KEYS or ORB_KEY_FILE")
    done = 0
    with transaction.atomic(using):
        for row in rows:
            again = wrapped(row.opened(packing), row.user_id, packing.active)
            same = UserKey.objects.using(using).filter(pk=row.pk, destroyed_at=None)
            done += same.update(wrapped=again, wrapped_by=packing.active.id)
    return done


def destroyed(using: str) -> dict[str, datetime]:
    """Return the ids of the destroyed keys, and when each was destroyed."""
    rows = UserKey.objects.using(using).exclude(destroyed_at=None)
    return {pk: at for pk, at in rows.values_list("pk", "destroyed_at") if at is not None}


def has_table(using: str = "default") -> bool:
    """Tell whether the database can be reached and has the table of data keys."""
    try:
        return UserKey._meta.db_table in connections[using].introspection.table_names()
    except DatabaseError:
        return False


def keep_destroyed(ids: Mapping[str, datetime], using: str) -> None:
    """Destroy the keys with these ids, which a restored database may have again."""
    for key_id, at in ids.items():
        row = {"user_id": "", "wrapped": None, "wrapped_by": "", "destroyed_at": at}
        UserKey.objects.using(using).update_or_create(pk=key_id, defaults=row, create_defaults=row | {"created_at": at})


def _keep(made: Mapping[str, DataKey], packing: Packing, using: str) -> None:
    if packing.active is None:
        raise KeyUnavailable("no keys are configured, so nothing can be sealed; set ORB_KEYS or ORB_KEY_FILE")
    now = utc_now()
    rows = [
        UserKey(id=key.id, user_id=user, wrapped=wrapped(key, user, packing.active), wrapped_by=packing.active.id,
                created_at=now)
        for user, key in made.items()
    ]  # fmt: skip
    UserKey.objects.using(using).bulk_create(rows, batch_size=_AT_A_TIME)
