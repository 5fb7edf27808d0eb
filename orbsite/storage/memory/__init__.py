"""The in-memory store. Imports base, retention and what is below."""
