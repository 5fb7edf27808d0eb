"""The shared parts of the REST API. Each app defines its resources in its own `api.py`."""
