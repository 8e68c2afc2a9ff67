"""The configuration of HAProxy in front of several gateways.

    python -m deploy.programs.load_balancer :8080 127.0.0.1:8090 127.0.0.1:8091 > /etc/haproxy/haproxy.cfg

renders it for two gateways on this machine. HAProxy sends a request to the gateway with the fewest
connections, and only to one whose /readyz answers 200. It adds no failure of its own: its timeouts are longer
than the gateway's, it has no queue, and it repeats a request only if no byte of it was sent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from protocols.http import Code

_CONNECTIONS = 2000
"""Connections of clients for each gateway: twice MAX_CONNECTIONS, since HAProxy holds idle ones itself."""

NOTICE_SECONDS = 0.6
"""HAProxy notices within this time that a gateway is ready: two of its checks."""

_CONFIGURATION = """\
# Written by `python -m deploy.programs.load_balancer`; the reasons are there.
global
    log stdout format raw daemon notice
    maxconn {connections}
    # A head may have MAX_HEADER_BYTES, and a response's head 64 KiB: the gateway decides, not HAProxy.
    tune.bufsize 98304
    # A soft stop (SIGUSR1) ends after the gateway's own SHUTDOWN_GRACE.
    hard-stop-after 30s

defaults
    mode http
    log global
    # A dead gateway is found when connecting. Nothing was sent then, so every method may be repeated.
    retries 3
    retry-on conn-failure
    option redispatch 1
    timeout connect 1s
    # Longer than CLIENT_HEADER_TIMEOUT.
    timeout http-request 15s
    # CLIENT_IDLE_TIMEOUT.
    timeout http-keep-alive 75s
    # Longer than UPSTREAM_IDLE_TIMEOUT and CLIENT_UPLOAD_TIMEOUT: the gateway ends a slow request.
    timeout client 310s
    timeout server 310s
    timeout check 1s
{errors}

frontend clients
    bind {bind}
    # A client's own claims about where it comes from are dropped.
    http-request del-header X-Forwarded-For
    http-request del-header X-Forwarded-Host
    http-request del-header Forwarded
    http-request set-header X-Forwarded-Proto {scheme}
    option forwardfor
    default_backend gateways

backend gateways
    balance leastconn
    option httpchk GET /readyz
    http-check expect status 200
    # A gateway that stops is out within two seconds: set its SHUTDOWN_DELAY to 3 or more.
    default-server check inter 1s fastinter 250ms downinter 250ms fall 2 rise 1
{servers}
"""

# By the status of HAProxy's own answers: its code, message, and seconds for Retry-After.
_ERRORS: Sequence[tuple[int, str, str, int | None]] = (
    (400, Code.INVALID_REQUEST, "The request is malformed", None),
    (408, Code.REQUEST_TIMEOUT, "The head of the request did not arrive in time", None),
    (500, Code.INTERNAL_ERROR, "The load balancer failed", None),
    (502, Code.SERVICE_UNAVAILABLE, "The gateway broke off", None),
    (503, Code.SERVICE_UNAVAILABLE, "No gateway is ready", 1),
    (504, Code.GATEWAY_TIMEOUT, "The gateway did not answer in time", None),
)

_RESOLVERS = """
resolvers containers
    nameserver docker 127.0.0.11:53
    resolve_retries 3
    timeout resolve 1s
    timeout retry 1s
    hold valid 1s
    hold obsolete 1s
"""


def render(bind: str, gateways: Sequence[str], *, certificate: Path | None = None) -> str:
    """The configuration for gateways at fixed addresses.

    bind: HOST:PORT to listen on. gateways: HOST:PORT of each. certificate: chain and key in one PEM file;
    with it HAProxy speaks TLS and HTTP/2 to clients.
    """
    if not gateways:
        raise ValueError("a load balancer needs at least one gateway")
    servers = [f"    server gateway-{number} {address}" for number, address in enumerate(gateways, start=1)]
    return _render(bind, servers, len(gateways), certificate)


def render_for_containers(bind: str, name: str, port: int, most: int) -> str:
    """The configuration for up to `most` gateways, the addresses of `name` at Docker's resolver."""
    template = f"    server-template gateway- {most} {name}:{port} resolvers containers init-addr none"
    return _render(bind, [template], most, None) + _RESOLVERS


def _render(bind: str, servers: Sequence[str], gateways: int, certificate: Path | None) -> str:
    tls = f" ssl crt {certificate} alpn h2,http/1.1" if certificate else ""
    return _CONFIGURATION.format(
        bind=bind + tls,
        connections=_CONNECTIONS * gateways,
        errors="\n".join(_error(*error) for error in _ERRORS),
        scheme="https" if certificate else "http",
        servers="\n".join(servers),
    )


def _error(status: int, code: str, message: str, retry_after: int | None) -> str:
    """HAProxy's own answer in the gateway's format."""
    body = json.dumps({"error": code, "message": message})  # no apostrophe: it would end HAProxy's string
    retry = f" hdr Retry-After {retry_after}" if retry_after else ""
    return f"    http-error status {status} content-type application/json string '{body}'{retry}"


def main() -> None:
    """Print the configuration for the front address and the gateways' addresses on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.programs.load_balancer", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("bind", help="[HOST]:PORT for clients")
    parser.add_argument("gateways", nargs="+", help="HOST:PORT of each gateway")
    parser.add_argument(
        "--certificate", type=Path, help="chain and key in one PEM file: clients then use TLS"
    )
    words = parser.parse_args()
    print(render(words.bind, words.gateways, certificate=words.certificate), end="")


if __name__ == "__main__":
    main()
