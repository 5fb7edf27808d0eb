"""A SQLite database backend whose files are private to their owner."""
