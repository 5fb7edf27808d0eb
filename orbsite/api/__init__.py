"""The REST API: what all resources share. The resources themselves are in each app's `api.py`."""
