"""The admin as an operations console. Imports operations and lower layers, never the API or the commands."""
