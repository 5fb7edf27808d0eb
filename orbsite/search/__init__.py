"""Full-text search of records in SQL, separate from the store contract: an index of words, and queries on it."""
