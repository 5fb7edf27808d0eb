"""Te stores the reflections of the assistant per session."""
