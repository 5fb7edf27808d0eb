"""Registrations of models with the admin site."""
