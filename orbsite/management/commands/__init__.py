"""One command a file; each calls one operation."""
