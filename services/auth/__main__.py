"""`python -m services.auth` runs the auth service as a process, in the foreground."""

from __future__ import annotations

from typing import Annotated

import trio
import trio_asyncio
from pydantic import AfterValidator

from actors.adapters.logs import log_transitions
from protocols.topology import AUTH_DATABASE, AUTH_SERVICE, AUTH_SERVICE_PORT
from runtime.auth import TokenVerifier
from runtime.config.policies import Configuration
from runtime.config.settings import DatabaseSettings, Port
from runtime.observability.panel import open_observed_panel
from runtime.serving import serve, stop_signal
from runtime.sharing.instances import Place
from runtime.sharing.process import open_sharing
from services.auth.accounts import Accounts
from services.auth.addresses.rewrite import rewrite_addresses
from services.auth.app import REJECTION_MESSAGE, create_app
from services.auth.passwords import Passwords
from services.auth.repository import MongoAccountRepository
from services.http.clients import GATEWAYS, TrustedGateways
from services.mongo.client import open_database
from services.mongo.dependency import database_dependency
from services.mongo.probe import ping_probe
from services.process import start, start_loop_time, start_operations


def _networks(value: str) -> str:
    TrustedGateways(value)
    return value


Networks = Annotated[str, AfterValidator(_networks)]


class AuthSettings(DatabaseSettings):
    """The auth service's settings.

    trusted_gateways: networks, separated by commas, of the gateways whose X-Forwarded-For is believed.
    """

    auth_service_port: Port = AUTH_SERVICE_PORT
    trusted_gateways: Networks = GATEWAYS


async def run(settings: AuthSettings, configuration: Configuration) -> None:
    """Serve until SIGTERM. MongoDB may be down at the start or at any time later."""
    async with (
        trio_asyncio.open_loop(),
        open_database(str(settings.mongodb_uri.get_secret_value()), "auth") as client,
        open_observed_panel() as panel,
        open_sharing(
            Place(AUTH_SERVICE, f"{settings.host}:{settings.auth_service_port}"),
            panel,
            settings,
            configuration.sharing,
        ) as sharing,
        trio.open_nursery() as nursery,
    ):
        loop_time = await start_loop_time(nursery)
        await nursery.start(log_transitions, panel)
        policies = configuration.with_probes({AUTH_DATABASE: lambda _: ping_probe(client)})
        database = database_dependency(panel, policies[AUTH_DATABASE], REJECTION_MESSAGE, loop_time)
        accounts = Accounts(MongoAccountRepository(client), database, Passwords())
        app = create_app(accounts, panel, TrustedGateways(settings.trusted_gateways))
        # The cache on disk lets an admin control this breaker while the database with the keys is down.
        keys = TokenVerifier(accounts.poll_jwks, cache=settings.jwks_cache)
        await nursery.start(keys.run)
        nursery.start_soon(rewrite_addresses, client)
        await start_operations(nursery, AUTH_SERVICE, app, panel, keys, settings, sharing)
        stop = app.extensions["readiness"].stop_after(settings.shutdown_delay, stop_signal)
        port, grace = settings.auth_service_port, settings.shutdown_grace
        await serve(app, host=settings.host, port=port, grace=grace, stop=stop)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    start(AUTH_SERVICE, AuthSettings, run)
