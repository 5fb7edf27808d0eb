"""The kernel: records, stores and documents; it knows no app, no settings and no web."""
