"""The store in JSON files: document, journal, cache, and their repair. Imports memory and what is below."""
