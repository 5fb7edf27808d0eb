"""The admin as an operations console. Imports operations and what is below them, never the API or the commands."""
