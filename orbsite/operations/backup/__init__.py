"""Creates, restores and prunes backups. Imports the ledger and the layers below."""
