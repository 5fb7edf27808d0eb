"""Admin pages of records: lists, search, editing, history, and removed records that can be restored."""
