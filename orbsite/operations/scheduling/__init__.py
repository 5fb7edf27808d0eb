"""Maintenance: due policies, claims, the clock, and daily work. Imports retention and what is below."""
