"""Pages that start operations and show the progress and the results of their jobs."""
