"""How the process runs: logging, start-up checks, the server, and Django's SQLite. Imports nothing else of ours."""
