"""Background processes: their names, heartbeats and queue."""
