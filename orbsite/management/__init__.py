"""The commands, and their shared options, output and exit codes."""
