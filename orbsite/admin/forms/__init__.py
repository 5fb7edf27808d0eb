"""Form fields of the admin. Imports only storage."""
