"""The project: kernel, operations and surfaces."""

__version__ = "1.0.0rc1"
