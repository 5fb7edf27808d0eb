"""Use cases over any domain: one file, one operation, one report."""
