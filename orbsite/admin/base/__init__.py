"""What all pages of the admin share. Imports no other package of the admin."""
