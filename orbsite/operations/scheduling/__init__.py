"""Maintenance: due policies, their claims, the clock and daily tasks. Imports retention and the layers below."""
