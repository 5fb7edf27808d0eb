"""The contract of every store, and what it is made of. Imports records and what is below."""
