"""Retention policies applied to a store. Imports files and what is below."""
