"""`python -m gateway.workers.worker`: one of several processes on one port, started by the supervisor."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from socket import socket

import structlog

from gateway.process import run_gateway
from gateway.settings import GatewaySettings
from gateway.workers.context import WorkerContext
from protocols.topology import API_GATEWAY
from runtime.config.policy_file import configuration_of
from runtime.config.reload import defer_sighup
from runtime.config.settings import load
from runtime.observability.logging import configure_logs
from runtime.observability.tracing import tracing
from runtime.serving import run_process


def run(gateway: str, address: str, slot: str, listener: str, lifeline: str, operations: str = "") -> None:
    """Serve until SIGTERM, or until the supervisor has ended. The text of breakers.toml is standard input.

    gateway, address, slot: see WorkerContext. listener, lifeline, operations: inherited file descriptors; the
    last is the listener of OPERATIONS_PORT, or empty.
    """
    defer_sighup()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    settings = load(GatewaySettings)
    configure_logs(API_GATEWAY, settings.log_format, settings.secrets())
    structlog.contextvars.bind_contextvars(worker=int(slot))
    # The supervisor has validated the policies, and warned of unusual ones.
    text = sys.stdin.buffer.read().decode()
    configuration = configuration_of(text, settings.circuit_breakers, settings.circuit_breaker_profile)
    with ExitStack() as stack:
        stack.enter_context(tracing(API_GATEWAY))
        inherited = [stack.enter_context(socket(fileno=int(one))) for one in (listener, operations) if one]
        for one in inherited:
            one.setblocking(False)
        context = WorkerContext(gateway, address, int(slot), inherited[0], int(lifeline), *inherited[1:])
        run_process(run_gateway, settings, configuration, context)


if __name__ == "__main__":
    run(*sys.argv[1:])
