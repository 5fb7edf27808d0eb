"""The first page of the admin: figures, charts and alerts."""
