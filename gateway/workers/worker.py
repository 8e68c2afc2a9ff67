"""`python -m gateway.workers.worker`: one of several processes on one port, started by the supervisor."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from socket import socket

import structlog

from gateway.process import run_gateway
from gateway.settings import GatewaySettings
from gateway.workers.slot import WorkerContext, WorkerSlot
from protocols.topology import API_GATEWAY
from runtime.config.policy_file import load_configuration
from runtime.config.settings import load
from runtime.observability.logging import configure_logs
from runtime.observability.tracing import tracing
from runtime.serving import run_process


def run(number: str, folder: str, listener: str, lifeline: str, operations: str = "") -> None:
    """Serve until SIGTERM, or until the supervisor has ended.

    number, folder: of this worker's slot. listener, lifeline, operations: inherited file descriptors; the
    last is the listener of OPERATIONS_PORT, or empty.
    """
    settings = load(GatewaySettings)
    configure_logs(API_GATEWAY, settings.log_format, settings.secrets())
    structlog.contextvars.bind_contextvars(worker=int(number))
    slot = WorkerSlot(int(number), Path(folder))
    # The supervisor has validated the policies, and warned of unusual ones.
    configuration = load_configuration(slot.policies, settings.circuit_breaker_profile)
    with ExitStack() as stack:
        stack.enter_context(tracing(API_GATEWAY))
        inherited = [stack.enter_context(socket(fileno=int(one))) for one in (listener, operations) if one]
        for one in inherited:
            one.setblocking(False)
        context = WorkerContext(slot, inherited[0], int(lifeline), *inherited[1:])
        run_process(run_gateway, settings, configuration, context)


if __name__ == "__main__":
    run(*sys.argv[1:])
