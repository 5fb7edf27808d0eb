"""What every request passes: middleware, error pages, health and metrics. Imports the API and what is below."""
