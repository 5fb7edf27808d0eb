"""The admin as an operations console: what it shows beside the rows, and who may do what in it."""
