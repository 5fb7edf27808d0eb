"""The contract that every store implements, with its queries and preconditions. Imports records and what is below."""
