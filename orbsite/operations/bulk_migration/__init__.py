"""Many data directories migrated by any number of workers. Imports migration, backup, workers and the layers below."""
