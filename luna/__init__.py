"""Luna: what a user wants, per mode."""
