"""The health check of a container: `python -m deploy.livez` exits with 0 if the process in it answers /livez.

It asks the HTTP port of each process of the stack, and the first that accepts a connection counts, since a
container runs one process. So one image needs one health check, without a setting of its own.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from collections.abc import Iterator, Mapping

from protocols.topology import MODULES, PORTS

_SECONDS = 3.0


def is_alive(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a process of the stack answers /livez with 200 on this host."""
    for port in _http_ports(environment):
        if (status := _status(port, tls=bool(environment.get("TLS_CERT_FILE")))) is not None:
            return status == http.client.OK
    return False


def _http_ports(environment: Mapping[str, str]) -> Iterator[int]:
    """The port of each process that serves HTTP: the first of each."""
    owners: set[str] = set()
    for setting, (owner, default) in PORTS.items():
        if owner in MODULES and owner not in owners:
            owners.add(owner)
            yield int(environment.get(setting) or default)


def _status(port: int, *, tls: bool) -> int | None:
    """The status of /livez on the port; None if no process listens there. 0 if there is no valid answer."""
    connection: http.client.HTTPConnection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    if tls:
        # The certificate is for the name that clients use.
        context = ssl._create_unverified_context()  # noqa: SLF001
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=_SECONDS, context=context)
    try:
        connection.connect()
        connection.request("GET", "/livez")
        return connection.getresponse().status
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if is_alive() else 1)
