"""Migration from files and earlier databases into SQL, verification, rollback. Imports backup and the layers below."""
