"""Asks the server of this container whether it responds: the exit code is 0 if `/livez` answers 200, else 1.

The address is the port of ORB_BIND on this host. The request names the first host of ALLOWED_HOSTS, because the server
answers no other one.
"""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

_SECONDS = 4


def main() -> int:
    """Send one request, and print the reason on standard error if the server does not respond."""
    port = int(os.environ.get("ORB_BIND", "127.0.0.1:8000").rpartition(":")[2])
    host = os.environ.get("ALLOWED_HOSTS", "localhost").split(",")[0].strip().lstrip(".")
    connection = HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/livez", headers={"Host": host})
        status = connection.getresponse().status
    except (OSError, HTTPException) as problem:
        sys.stderr.write(f"/livez on port {port} does not respond: {problem}\n")
        return 1
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        sys.stderr.write(f"/livez on port {port} answers {status}\n")
    return int(status != HTTPStatus.OK)


if __name__ == "__main__":
    sys.exit(main())
