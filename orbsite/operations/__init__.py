"""Use cases over any domain: each module has one operation, which returns one report."""
