"""Connections to PostgreSQL: sessions past a connection pooler. Imports the database errors and what is below."""
