"""`python -m gateway.workers.worker`: one of several processes on one port, started by the supervisor."""

from __future__ import annotations

import sys
from pathlib import Path
from socket import socket

import structlog

from gateway.__main__ import main
from gateway.pages.app import PROCESS
from gateway.settings import GatewaySettings
from gateway.workers.slot import WorkerContext, WorkerSlot
from runtime.config.breakers import load_configuration
from runtime.config.settings import load
from runtime.observability.logging import configure_logs
from runtime.observability.tracing import tracing
from runtime.serving import run_process


def run(number: str, folder: str, listener: str, lifeline: str) -> None:
    """Serve from the listening socket with that descriptor until SIGTERM, or until the parent has gone."""
    settings = load(GatewaySettings)
    configure_logs(PROCESS, settings.log_format, settings.secrets())
    structlog.contextvars.bind_contextvars(worker=int(number))
    seat = WorkerSlot(int(number), Path(folder))
    # The parent has looked at them, and warned where they are unusual.
    policies = load_configuration(seat.policies, settings.circuit_breaker_profile)
    with socket(fileno=int(listener)) as inherited, tracing(PROCESS):
        inherited.setblocking(False)
        run_process(main, settings, policies, WorkerContext(seat, inherited, int(lifeline)))


if __name__ == "__main__":
    run(*sys.argv[1:])
