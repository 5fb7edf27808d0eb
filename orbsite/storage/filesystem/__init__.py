"""Files of ours, down to the system call. Imports encoding and what is below."""
