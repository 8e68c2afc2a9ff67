"""The process of a service: its start, and the tasks beside its servers."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

import trio
from quart_trio import QuartTrio

from actors import Panel
from actors.adapters.logs import log_transitions
from runtime.admin.api import add_breaker_admin
from runtime.admin.webhook import start_webhook
from runtime.auth import TokenVerifier, jwks_over_http
from runtime.config.policies import BadConfiguration, Configuration
from runtime.config.policy_file import load_policies
from runtime.config.reload import defer_sighup, reload_on_hangup
from runtime.config.settings import DatabaseSettings, ProcessSettings, SecretToken, load
from runtime.observability.logging import configure_logs
from runtime.observability.panel import open_observed_panel
from runtime.observability.tracing import tracing
from runtime.serving import run_process
from runtime.serving.loop_time import LoopTime
from runtime.sharing.instances import Place
from runtime.sharing.process import ProcessSharing, open_sharing
from services.mongo.client import Database, open_database

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


class ServiceParts(NamedTuple):
    """What every service runs with.

    client: of its MongoDB. sharing: None: nothing is shared. nursery: for its tasks; cancelled at its end.
    loop_time: detects that the process stalls.
    """

    client: Database
    panel: Panel
    sharing: ProcessSharing | None
    nursery: trio.Nursery
    loop_time: LoopTime


@asynccontextmanager
async def open_parts(
    name: str, database: str, port: int, settings: DatabaseSettings, configuration: Configuration
) -> AsyncIterator[ServiceParts]:
    """What the service `name` runs with, for as long as the block lasts. port: by which others know it.

    MongoDB and Valkey may be down at the start or at any time later.
    """
    place = Place(name, f"{settings.host}:{port}")
    async with (
        open_database(str(settings.mongodb_uri.get_secret_value()), database) as client,
        open_observed_panel() as panel,
        open_sharing(place, panel, settings, configuration.sharing) as sharing,
        trio.open_nursery() as nursery,
    ):
        loop_time = LoopTime()
        await nursery.start(loop_time.run)
        await nursery.start(log_transitions, panel)
        yield ServiceParts(client, panel, sharing, nursery, loop_time)
        nursery.cancel_scope.cancel()


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


async def start_operations(
    name: str, app: QuartTrio, parts: ServiceParts, keys: TokenVerifier, settings: ProcessSettings
) -> None:
    """Add the admin API of the process's breakers to `app`, and start its tasks.

    The tasks record the breakers' history, apply operators' commands, also those given to other instances,
    post transitions to the webhook if one is set, and reload breakers.toml on SIGHUP. Health and metrics
    show how the breakers are shared.
    """
    _, panel, sharing, nursery, _ = parts
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
