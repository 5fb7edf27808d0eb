"""Full-text search of records in SQL, beside the store contract: an index of their words, and queries in it."""
