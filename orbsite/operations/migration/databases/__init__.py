"""Databases of the earlier system, and of this one, as sources of an import."""
