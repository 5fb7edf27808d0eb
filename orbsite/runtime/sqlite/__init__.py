"""Django's SQLite, with files that are private from the start."""
