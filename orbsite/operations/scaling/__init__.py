"""Spreads the tables of a database over several servers. Imports ledger and the layers below."""
