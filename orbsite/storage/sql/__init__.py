"""The store in SQL tables, through Django's models. Imports base, retention and what is below."""
