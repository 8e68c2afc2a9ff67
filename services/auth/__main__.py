"""`python -m services.auth`: the auth service as a process, in the foreground."""

from __future__ import annotations

import trio
import trio_asyncio

from actors import DURATION_BUCKETS, open_panel
from actors.adapters.logs import log_transitions
from runtime.serving import serve
from runtime.settings import Port, ProcessSettings
from services.auth.accounts import Accounts
from services.auth.app import BREAKER, OPEN_MESSAGE, create_app
from services.auth.passwords import Passwords
from services.auth.store import MongoStore
from services.database import open_database
from services.guard import guard_database
from services.process import Policies, start


class AuthSettings(ProcessSettings):
    """The auth service's settings."""

    auth_service_port: Port = 8081


async def run(settings: AuthSettings, policies: Policies) -> None:
    """Serve until SIGTERM. MongoDB may be down, now or later."""
    async with (
        trio_asyncio.open_loop(),
        open_database(settings.mongodb_uri, "auth") as database,
        open_panel(durations=DURATION_BUCKETS) as panel,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(log_transitions, panel)
        guard = guard_database(panel, policies[BREAKER], OPEN_MESSAGE)
        app = create_app(Accounts(MongoStore(database), guard, Passwords()), panel)
        await serve(app, host=settings.host, port=settings.auth_service_port)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    start("auth-service", AuthSettings, run)
