"""Gunicorn's configuration: `gunicorn --config python:orbsite.runtime.gunicorn orbsite.wsgi`.

Gunicorn's command line and GUNICORN_CMD_ARGS take precedence.
"""

from __future__ import annotations

import os

from orbsite.runtime.json_logging import logging_to_standard_error

bind = os.environ.get("ORB_BIND") or "127.0.0.1:8000"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
threads = int(os.environ.get("ORB_THREADS") or 4)
worker_class = (
    "orbsite.runtime.gunicorn_worker.Worker"  # slow clients block no thread, and health checks have their own threads
)
worker_connections = 500
timeout = 60
keepalive = 5
sendfile = False  # the worker disconnects clients that read too slowly, which sendfile would bypass
graceful_timeout = 30
max_requests = 100_000
max_requests_jitter = 10_000
umask = 0o077
limit_request_line = 8190  # two ids of 255 characters, in base64url
limit_request_fields = 100
limit_request_field_size = 8190
forwarder_headers = ""  # neither clients nor proxies may set SCRIPT_NAME or PATH_INFO
control_socket_disable = True  # signals suffice, and a socket would be one more attack surface
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1"
logconfig_dict = logging_to_standard_error(os.environ.get("ORB_LOG_LEVEL") or "INFO")
