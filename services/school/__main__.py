"""`python -m services.school` runs the school service as a process, in the foreground."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio_asyncio

from actors.adapters.logs import log_transitions
from protocols.topology import SCHOOL_DATABASE, SCHOOL_GRPC_PORT, SCHOOL_SERVICE, SCHOOL_SERVICE_PORT
from runtime.config.policies import Configuration
from runtime.config.settings import DatabaseSettings, Port
from runtime.observability.panel import open_observed_panel
from runtime.serving import serve, stop_signal
from services.grpc.server import serve_grpc
from services.mongo.client import open_database
from services.mongo.dependency import database_dependency
from services.mongo.probe import ping_probe
from services.process import serve_all, start, start_loop_time, start_operations, start_token_verifier
from services.school.app import REJECTION_MESSAGE, create_app
from services.school.grpc_service import grpc_services
from services.school.repository import school_repository


class SchoolSettings(DatabaseSettings):
    """The school service's settings."""

    school_service_port: Port = SCHOOL_SERVICE_PORT
    school_grpc_port: Port = SCHOOL_GRPC_PORT


async def run(settings: SchoolSettings, configuration: Configuration) -> None:
    """Serve HTTP and gRPC until SIGTERM. MongoDB and the auth service may be down at any time."""
    async with (
        trio_asyncio.open_loop(),
        open_database(str(settings.mongodb_uri.get_secret_value()), "school") as client,
        open_observed_panel() as panel,
        trio.open_nursery() as nursery,
    ):
        loop_time = await start_loop_time(nursery)
        await nursery.start(log_transitions, panel)
        keys = await start_token_verifier(nursery, settings)
        repository = school_repository(client)
        policies = configuration.with_probes({SCHOOL_DATABASE: lambda _: ping_probe(client)})
        database = database_dependency(panel, policies[SCHOOL_DATABASE], REJECTION_MESSAGE, loop_time)
        app = create_app(repository=repository, database=database, panel=panel, keys=keys)
        await start_operations(nursery, SCHOOL_SERVICE, app, panel, keys, settings)

        async def serve_http(stop: Callable[[], Awaitable[None]]) -> None:
            port, grace = settings.school_service_port, settings.shutdown_grace
            await serve(app, host=settings.host, port=port, grace=grace, stop=stop)

        async def serve_rpc(stop: Callable[[], Awaitable[None]]) -> None:
            services = grpc_services(repository, database)
            port, grace = settings.school_grpc_port, settings.shutdown_grace
            await serve_grpc(services, host=settings.host, port=port, grace=grace, stop=stop)

        stop = app.extensions["readiness"].stop_after(settings.shutdown_delay, stop_signal)
        await serve_all(stop, serve_http, serve_rpc)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    start(SCHOOL_SERVICE, SchoolSettings, run)
