"""The store in JSON files: document, journal, cache, checks and repair. Imports memory and what is below."""
