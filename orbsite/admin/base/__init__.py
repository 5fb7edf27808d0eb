"""Code shared by all pages of the admin. Imports no other package of the admin."""
