"""Changes of single records and users. Imports the ledger and what is below."""
