"""Counts of what a store holds. Imports every store."""
