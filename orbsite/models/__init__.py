"""The database tables of the project itself. Imports storage and runtime."""

from orbsite.models import (  # noqa: F401 -- Django finds the models of an app here
    api_tokens,
    audit_log,
    bulk_migrations,
    clock,
    erasures,
    idempotency,
    jobs,
    ledger,
    notifications,
    retention,
    search_index,
    statistics,
    user_keys,
)
