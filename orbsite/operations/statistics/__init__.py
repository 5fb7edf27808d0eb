"""Counts and sizes of stores. Imports models and storage alone."""
