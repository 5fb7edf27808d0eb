"""Luna stores the preferences and constraints of users per mode, and their active modes."""
