"""Chooses the removal for a table by its database, and by how its rows are stored there."""

from __future__ import annotations

from datetime import datetime

from django.db import connections

from orbsite.storage.citus import is_distributed
from orbsite.storage.partitions import is_partitioned
from orbsite.storage.retention.policy import Policy
from orbsite.storage.sql.models import RecordRow
from orbsite.storage.sql.retention.deletion import (
    KeyedRetentionDeletion,
    PostgresqlRetentionDeletion,
    RetentionDeletion,
    SqliteRetentionDeletion,
)
from orbsite.storage.sql.retention.partitioned_deletion import PartitionedRetentionDeletion


def retention_deletion(model: type[RecordRow], using: str, policy: Policy, now: datetime) -> RetentionDeletion:
    """Return the deletion of the rows that a policy selects in a model's table; `plan` runs the first query."""
    connection, table = connections[using], model._meta.db_table
    if connection.vendor != "postgresql":
        return SqliteRetentionDeletion(model, using, policy, now)
    if is_partitioned(connection, table):
        return PartitionedRetentionDeletion(model, using, policy, now)
    if is_distributed(connection, table):
        return KeyedRetentionDeletion(model, using, policy, now)
    return PostgresqlRetentionDeletion(model, using, policy, now)
