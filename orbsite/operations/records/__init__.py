"""Edits and deletions of single records, and erasures of users. Imports the ledger and the layers below."""
