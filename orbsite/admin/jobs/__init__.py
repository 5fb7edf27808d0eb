"""Pages that start operations, and follow the jobs that do them."""
