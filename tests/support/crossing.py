"""What may reach rows of all users, and why. Everything else has to name the user, and a new verb or route too."""

from __future__ import annotations

VERBS = {
    "walk": "reads all records, a page of keys at a time",
    "count": "counts all records, for statistics",
    "size": "asks the database for the size of the tables",
    "refused": "reads all rows to find those that do not decode, by a cursor of the server",
    "sums": "reads all rows to verify a migration, by a cursor of the server",
    "count_written": "counts what a migration wrote",
    "written_by": "lists what a migration wrote, a page of keys at a time, to take it back",
    "compare": "joins a batch of a migration, with its many users, to the table by the key",
}
"""The verbs of the store that are for all users."""

ROUTES = {
    ("GET", "/api/v1/operations/stats"): "counts all records, for tokens of every user",
    ("DELETE", "/api/v1/users/{user}"): "erases a user from the ledger and from copies in answers too, in whose texts "
    "the user stands; no other route searches texts, and an erasure is rare",
}
"""The requests that are for all users. Their rows of records are still those of the user."""

LEDGER = {"orb_changes", "orb_rejects", "orb_answers", "orb_user_keys"}
"""The tables that an erasure searches. They are on one node."""

_ONCE_A_MINUTE = "asks once a minute whether texts are sealed, where no keys are configured; the table is on one node"
STATEMENTS = {
    f'SELECT {one} AS "a" FROM "orb_user_keys" WHERE "orb_user_keys"."destroyed_at" IS NULL LIMIT 1': _ONCE_A_MINUTE
    for one in ("1", "%s")  # in PostgreSQL, and in SQLite
}
"""The statements of hot paths that name no user."""
