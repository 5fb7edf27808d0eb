"""Middleware, error pages, health checks and metrics. May import the API and the layers below it."""
