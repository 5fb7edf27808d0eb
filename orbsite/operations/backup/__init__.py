"""Backups: how they are made, restored and pruned. Imports the ledger and what is below."""
