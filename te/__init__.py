"""Te: what the assistant reflected on."""
