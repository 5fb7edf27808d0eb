"""The project: kernel, operations and surfaces."""

__version__ = "0.1.0"
