"""The storage kernel: records, stores and documents. It imports no app, no settings and no web code."""
