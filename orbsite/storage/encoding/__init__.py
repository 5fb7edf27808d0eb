"""JSON and timestamps as bytes and text. Imports errors and findings alone."""
