"""Retention policies applied to a store. Imports files and the layers below."""
