"""`python -m services.auth`: the auth service as a process, in the foreground."""

from __future__ import annotations

import sys

import trio
import trio_asyncio
from actors.adapters.logs import log_transitions

from actors import CircuitBreakerConfig, open_panel
from runtime.breakers import BadConfiguration, load_breakers
from runtime.logs import configure_logs
from runtime.serving import run_process, serve
from runtime.settings import Port, ProcessSettings, load
from services.auth.accounts import Accounts
from services.auth.app import BREAKER, OPEN_MESSAGE, create_app
from services.auth.passwords import Passwords
from services.auth.store import MongoStore
from services.database import open_database
from services.guard import guard_database


class AuthSettings(ProcessSettings):
    """The auth service's settings."""

    auth_service_port: Port = 8081


async def run(settings: AuthSettings, policy: CircuitBreakerConfig) -> None:
    """Serve until SIGTERM. MongoDB may be down, now or later."""
    async with (
        trio_asyncio.open_loop(),
        open_database(settings.mongodb_uri, "auth") as database,
        open_panel() as panel,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(log_transitions, panel)
        guard = guard_database(panel, policy, OPEN_MESSAGE)
        app = create_app(Accounts(MongoStore(database), guard, Passwords()), panel)
        await serve(app, host=settings.host, port=settings.auth_service_port)
        nursery.cancel_scope.cancel()


def main() -> None:
    """Read the settings and run; a bad one ends the process with 2 and says which."""
    settings = load(AuthSettings)
    configure_logs("auth-service", settings.log_format)
    try:
        policies = load_breakers(settings.circuit_breakers, settings.circuit_breaker_profile)
    except BadConfiguration as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    run_process(run, settings, policies[BREAKER])


if __name__ == "__main__":
    main()
