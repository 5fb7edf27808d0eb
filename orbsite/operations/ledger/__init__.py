"""Runs, changes and tombstones in the ledger. Imports workers, statistics and what is below."""
