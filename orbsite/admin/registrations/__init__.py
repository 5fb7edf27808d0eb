"""Which model has which admin pages."""
