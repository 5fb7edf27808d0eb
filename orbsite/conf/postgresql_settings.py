"""The settings of connections to PostgreSQL: limits for waiting, addresses behind and past a pooler, replicas."""

from __future__ import annotations

from typing import Any

from orbsite.storage.postgresql.replicas import REPLICA_OF
from orbsite.storage.postgresql.session import DIRECT

Settings = dict[str, Any]
"""The settings of one database, as in DATABASES."""


def with_limits(database: Settings, *, statement_timeout: str) -> Settings:
    """Return the settings with limits for waiting. Options in the query string of the address take precedence."""
    limits = {
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "10min",  # a migration run reads files within its transactions
        "statement_timeout": statement_timeout or "0",
    }
    options = " ".join(f"-c {name}={value}" for name, value in limits.items())
    return _reused({**database, "OPTIONS": {"connect_timeout": 10, "options": options, **database.get("OPTIONS", {})}})


def pooled(database: Settings, direct: Settings) -> Settings:
    """Return the settings of an address that pools transactions, with those of an address for whole sessions.

    A pooler refuses options at the start, so that the server has to set the limits; `orb check` says how.
    """
    options = {"connect_timeout": 10, **database.get("OPTIONS", {})}
    return _reused({"DISABLE_SERVER_SIDE_CURSORS": True, **database, "OPTIONS": options, DIRECT: direct})


def replica(database: Settings, *, statement_timeout: str) -> Settings:
    """Return the settings of a read replica, which is given up after seconds if its host does not respond."""
    limits = {
        "connect_timeout": 2,
        "tcp_user_timeout": 5000,
        "keepalives_idle": 2,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        **database.get("OPTIONS", {}),
    }
    database = {**database, "OPTIONS": limits, REPLICA_OF: "default", "TEST": {"MIRROR": "default"}}
    return with_limits(database, statement_timeout=statement_timeout)


def _reused(database: Settings) -> Settings:
    """Return the settings with connections that server threads reuse between requests, and that are checked before."""
    return {"CONN_HEALTH_CHECKS": True, "CONN_MAX_AGE": 600, **database}
