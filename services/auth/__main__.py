"""`python -m services.auth` runs the auth service as a process, in the foreground."""

from __future__ import annotations

from typing import Annotated

import trio_asyncio
from pydantic import AfterValidator

from protocols.topology import AUTH_DATABASE, AUTH_SERVICE, AUTH_SERVICE_PORT
from runtime.auth import TokenVerifier
from runtime.config.policies import Configuration
from runtime.config.settings import DatabaseSettings, Port
from runtime.serving import serve, stop_signal
from services.auth.accounts import Accounts
from services.auth.addresses.rewrite import rewrite_addresses
from services.auth.app import REJECTION_MESSAGE, create_app
from services.auth.passwords import Passwords
from services.auth.repository import MongoAccountRepository
from services.http.clients import GATEWAYS, TrustedGateways
from services.mongo.dependency import database_dependency
from services.mongo.probe import ping_probe
from services.process import open_parts, start, start_operations


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
    port, grace = settings.auth_service_port, settings.shutdown_grace
    async with (
        trio_asyncio.open_loop(),
        open_parts(AUTH_SERVICE, "auth", port, settings, configuration) as parts,
    ):
        client, panel, _, nursery, loop_time = parts
        policies = configuration.with_probes({AUTH_DATABASE: lambda _: ping_probe(client)})
        database = database_dependency(panel, policies[AUTH_DATABASE], REJECTION_MESSAGE, loop_time)
        accounts = Accounts(MongoAccountRepository(client), database, Passwords())
        app = create_app(accounts, panel, TrustedGateways(settings.trusted_gateways))
        # The cache on disk lets an admin control this breaker while the database with the keys is down.
        keys = TokenVerifier(accounts.poll_jwks, cache=settings.jwks_cache)
        await nursery.start(keys.run)
        nursery.start_soon(rewrite_addresses, client)
        await start_operations(AUTH_SERVICE, app, parts, keys, settings)
        stop = app.extensions["readiness"].stop_after(settings.shutdown_delay, stop_signal)
        await serve(app, host=settings.host, port=port, grace=grace, stop=stop)


if __name__ == "__main__":
    start(AUTH_SERVICE, AuthSettings, run)
