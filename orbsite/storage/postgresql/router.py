"""The database router of read replicas, for DATABASE_ROUTERS."""

from __future__ import annotations

from typing import Any

from django.db import connections

from orbsite.storage.postgresql.replicas import REPLICA_OF, reading_from


class ReplicaRouter:
    """Reads from the replica that `read_from_replica` has chosen, and sends everything else to the primary."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:  # noqa: ARG002 -- Django's signature
        """Return the replica in use, or the primary for what belongs to an instance that was read from a replica."""
        return reading_from() or _primary_of(hints.get("instance"))

    def db_for_write(self, model: Any, **hints: Any) -> str | None:  # noqa: ARG002 -- Django's signature
        """Return the primary for an instance that was read from a replica."""
        return _primary_of(hints.get("instance"))

    def allow_relation(self, one: Any, other: Any, **_: Any) -> bool | None:
        """Allow relations between a primary and its replicas, which have the same rows."""
        places = {_primary_of(row) or row._state.db for row in (one, other)}
        return True if len(places) == 1 else None

    def allow_migrate(self, db: str, *_: Any, **__: Any) -> bool | None:
        """Refuse migrations of replicas."""
        return False if connections.settings.get(db, {}).get(REPLICA_OF) else None


def _primary_of(instance: Any) -> str | None:
    """Return the primary of the replica that an instance was read from, None for other instances."""
    alias = "" if instance is None else instance._state.db or ""
    primary: str | None = connections.settings.get(alias, {}).get(REPLICA_OF)
    return primary
