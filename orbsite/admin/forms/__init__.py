"""Form fields. Imports storage alone."""
