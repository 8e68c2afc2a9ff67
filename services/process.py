"""The process of a service: its start, and the tasks beside its servers."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from quart_trio import QuartTrio

from actors import Panel
from runtime.admin.api import add_breaker_admin
from runtime.admin.webhook import start_webhook
from runtime.auth import TokenVerifier, jwks_over_http
from runtime.config.policies import BadConfiguration, Configuration
from runtime.config.policy_file import load_policies
from runtime.config.reload import defer_sighup, reload_on_hangup
from runtime.config.settings import DatabaseSettings, ProcessSettings, SecretToken, load
from runtime.observability.logging import configure_logs
from runtime.observability.tracing import tracing
from runtime.serving import run_process
from runtime.serving.loop_time import LoopTime
from runtime.sharing.process import ProcessSharing

Settings = TypeVar("Settings", bound=ProcessSettings)
Server = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class GrpcSettings(DatabaseSettings):
    """The settings of processes that speak gRPC with each other.

    school_grpc_secret: the credential of calls to the school service; None: calls need none.
    """

    school_grpc_secret: SecretToken | None = None

    def grpc_secret(self) -> str | None:
        """The credential as text."""
        return None if self.school_grpc_secret is None else self.school_grpc_secret.get_secret_value()

    def secrets(self) -> list[str]:
        """See ProcessSettings."""
        secret = self.grpc_secret()
        return super().secrets() + ([] if secret is None else [secret])


def start(
    name: str, settings_type: type[Settings], run: Callable[[Settings, Configuration], Awaitable[None]]
) -> None:
    """Load settings and policies, configure the log, and run the process `name` until it is stopped.

    run: gets settings and policies. Raises SystemExit with code 2 for an unusable setting or policy, after
    printing its name.
    """
    defer_sighup()
    settings = load(settings_type)
    configure_logs(name, settings.log_format, settings.secrets())
    try:
        configuration = load_policies(settings.circuit_breakers, settings.circuit_breaker_profile)
    except BadConfiguration as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    with tracing(name):
        run_process(run, settings, configuration)


async def start_token_verifier(nursery: trio.Nursery, settings: ProcessSettings) -> TokenVerifier:
    """A TokenVerifier that fetches the auth service's keys in `nursery`."""
    fetch_keys = jwks_over_http(*map(str, settings.auth_service_url), ca_file=settings.upstream_ca_file)
    keys = TokenVerifier(fetch_keys, cache=settings.jwks_cache)
    await nursery.start(keys.run)
    return keys


async def start_loop_time(nursery: trio.Nursery) -> LoopTime:
    """A LoopTime that runs in `nursery`, to detect that this process stalls."""
    loop_time = LoopTime()
    await nursery.start(loop_time.run)
    return loop_time


async def start_operations(
    nursery: trio.Nursery,
    name: str,
    app: QuartTrio,
    panel: Panel,
    keys: TokenVerifier,
    settings: ProcessSettings,
    sharing: ProcessSharing | None,
) -> None:
    """Add the admin API of the process's breakers to `app`, and start its tasks in `nursery`.

    The tasks record the breakers' history, apply operators' commands, also those given to other instances,
    post transitions to the webhook if one is set, and reload breakers.toml on SIGHUP. sharing: shown in
    health and metrics; None: nothing is shared.
    """
    app.extensions["sharing"] = sharing
    recorder, admin = add_breaker_admin(app, name, panel, keys, settings, sharing)
    if sharing is not None:
        recorder.other_instances = sharing.other_instances
    await nursery.start(recorder.run)
    await nursery.start(admin.commands.run)
    await start_webhook(nursery, name, settings, panel)
    await nursery.start(reload_on_hangup, admin.policies.reload)


async def serve_all(stop: Callable[[], Awaitable[None]], *servers: Server) -> None:
    """Run servers concurrently until `stop` returns and each server has drained.

    Each server is called with a function of its own to wait for the stop. An error in one cancels the others.
    """
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        for serve in servers:
            nursery.start_soon(serve, stopping.wait)
        await stop()
        stopping.set()
