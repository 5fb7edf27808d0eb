"""The store in memory. Imports base, retention and what is below."""
