"""The dashboard on the admin's index page: figures, charts and alerts."""
