"""Connections to PostgreSQL: sessions past a pooler, read replicas. Imports the database errors and what is below."""
