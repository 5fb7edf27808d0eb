"""The project: kernel, operations and surfaces."""
