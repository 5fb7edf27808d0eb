"""Authentication and authorization of admin users: passwords, two-factor codes, roles, and re-authentication."""
