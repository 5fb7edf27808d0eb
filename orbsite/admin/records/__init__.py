"""Pages of records: lists, editing, history, and removal into the undo window."""
