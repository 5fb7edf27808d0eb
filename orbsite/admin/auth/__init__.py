"""Who may sign in, and how: passwords, the second factor, roles, and re-authentication."""
