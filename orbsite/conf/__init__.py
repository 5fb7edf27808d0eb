"""The project's settings, and the system checks over them. Imports storage and runtime."""
