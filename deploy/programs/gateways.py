"""The gateways of a stack, and HAProxy in front of several: their environments and its configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from deploy.config import HOST, ROOT, StackConfig, StackError, find_haproxy
from deploy.programs import load_balancer
from protocols.topology import gateway_names

_BALANCED_DELAY = "3"
"""Seconds: HAProxy sends requests to a gateway for up to two seconds after its /readyz turned 503."""
TLS = ("TLS_CERT_FILE", "TLS_KEY_FILE")
"""The settings of the certificate. Behind HAProxy, which has it, the gateways speak plain HTTP."""


def gateway_environment(
    config: StackConfig, name: str, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The variables of one gateway that differ from those of the other processes."""
    found = {"GATEWAY_PORT": str(config.ports_of(name)[0])}
    if (port := config.operations_port_of(name)) is not None:
        found["OPERATIONS_PORT"] = str(port)
    if config.balanced:
        found["HOST"] = HOST
        # HAProxy drops a client's own X-Forwarded-For and adds the client's address.
        proxies = environment.get("TRUSTED_PROXIES")
        found["TRUSTED_PROXIES"] = f"{proxies},{HOST}" if proxies else HOST
        found["SHUTDOWN_DELAY"] = environment.get("SHUTDOWN_DELAY") or _BALANCED_DELAY
    return found


def balancer_command(config: StackConfig) -> list[str]:
    """The command line of HAProxy: in the foreground. Raises StackError if it was removed meanwhile."""
    haproxy = find_haproxy()
    if haproxy is None:
        raise StackError("there is no haproxy here any more: install it, or start the stack again")
    return [str(haproxy), "-db", "-f", str(_configuration(config))]


def write_balancer_configuration(config: StackConfig, environment: Mapping[str, str] = os.environ) -> None:
    """Write HAProxy's configuration, with links to the certificate and its key if clients use TLS."""
    path = _configuration(config)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    certificate = path.with_name("gateway.pem") if config.tls else None
    if certificate:
        # HAProxy looks for the key of a certificate in a second file of its name.
        links = (certificate, certificate.with_name(f"{certificate.name}.key"))
        for link, setting in zip(links, TLS, strict=True):
            link.unlink(missing_ok=True)
            link.symlink_to(ROOT / environment.get(setting, ""))
    gateways = [f"{HOST}:{config.ports_of(name)[0]}" for name in gateway_names(config.gateways)]
    bind = f"{environment.get('HOST') or HOST}:{config.ports['GATEWAY_PORT']}"
    path.write_text(load_balancer.render(bind, gateways, certificate=certificate))


def _configuration(config: StackConfig) -> Path:
    return config.folder / "load-balancer" / "haproxy.cfg"
