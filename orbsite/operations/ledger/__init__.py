"""Runs, changes and tombstones in the ledger. Imports workers, statistics and the layers below."""
