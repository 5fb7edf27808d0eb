"""The process: logging, start-up checks, the server and the SQLite backend. Must not import other packages of ours."""
