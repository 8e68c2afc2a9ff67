"""How a service process starts (settings, logs, policies, then trio), and what runs beside its servers."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

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
from runtime.config.settings import ProcessSettings, load
from runtime.observability.logging import configure_logs
from runtime.observability.tracing import tracing
from runtime.serving import run_process
from runtime.serving.loop_time import LoopTime

Settings = TypeVar("Settings", bound=ProcessSettings)
Serve = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


def start(name: str, kind: type[Settings], run: Callable[[Settings, Configuration], Awaitable[None]]) -> None:
    """Run the process `name` until it is stopped; a bad setting ends it with 2 and says which."""
    defer_sighup()
    settings = load(kind)
    configure_logs(name, settings.log_format, settings.secrets())
    try:
        configuration = load_policies(settings.circuit_breakers, settings.circuit_breaker_profile)
    except BadConfiguration as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    with tracing(name):
        run_process(run, settings, configuration)


async def start_companions(nursery: trio.Nursery, settings: ProcessSettings, panel: Panel) -> TokenVerifier:
    """Start the log of transitions and the refresh of the keys in `nursery`, and return those keys."""
    fetch_keys = jwks_over_http(settings.auth_service_url, ca_file=settings.upstream_ca_file)
    keys = TokenVerifier(fetch_keys, cache=settings.jwks_cache)
    await nursery.start(log_transitions, panel)
    await nursery.start(keys.run)
    return keys


async def start_loop_time(nursery: trio.Nursery) -> LoopTime:
    """Watch in `nursery` how long this process stands still."""
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
) -> None:
    """Let the process's breakers be seen and steered through `app`, and told of where a webhook is set.

    From then on SIGHUP reads breakers.toml again.
    """
    recorder = add_breaker_admin(app, name, panel, keys, settings)
    await nursery.start(recorder.run)
    await start_webhook(nursery, name, settings, panel)
    policies = settings.circuit_breakers, settings.circuit_breaker_profile
    await nursery.start(reload_on_hangup, panel, *policies)


async def serve_all(stop: Callable[[], Awaitable[None]], *servers: Serve) -> None:
    """Run servers side by side until `stop` returns and each has drained.

    Each is called with a `stop` to wait for. One that fails ends the others.
    """
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        for serve in servers:
            nursery.start_soon(serve, stopping.wait)
        await stop()
        stopping.set()
