"""python -m gateway: the API gateway, in the foreground, until SIGTERM."""

from __future__ import annotations

import sys

from gateway.call_log.log_file import CallLogFile, UnusableCallLog
from gateway.process import run_gateway
from gateway.settings import GatewaySettings
from gateway.workers.supervisor import run_workers
from protocols.topology import API_GATEWAY
from runtime.config.policies import BadConfiguration
from runtime.config.policy_file import load_policies
from runtime.config.reload import defer_sighup
from runtime.config.settings import load
from runtime.observability.logging import configure_logs
from runtime.observability.tracing import tracing
from runtime.serving import UnusableCertificate, run_process


def run() -> None:
    """Start the gateway; exit with status 2 and a message on standard error if its settings are invalid."""
    defer_sighup()
    settings = load(GatewaySettings)
    configure_logs(API_GATEWAY, settings.log_format, settings.secrets())
    try:
        configuration = load_policies(settings.circuit_breakers, settings.circuit_breaker_profile)
        settings.certificate()
        if settings.call_log is not None:
            CallLogFile(settings.call_log).close()
    except (BadConfiguration, UnusableCertificate, UnusableCallLog) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    if settings.gateway_workers > 1:
        run_process(run_workers, settings)
        return
    with tracing(API_GATEWAY):
        run_process(run_gateway, settings, configuration)


if __name__ == "__main__":
    run()
