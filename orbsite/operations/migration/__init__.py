"""Migration from files or earlier databases into SQL, verification and rollback. Imports backup and below."""
