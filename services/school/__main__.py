"""`python -m services.school`: the school service as a process, HTTP and gRPC, in the foreground."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio_asyncio
from structlog.contextvars import get_contextvars

from actors import DURATION_BUCKETS, open_panel
from protocols.topology import SCHOOL_DATABASE, SCHOOL_GRPC_PORT, SCHOOL_SERVICE, SCHOOL_SERVICE_PORT
from runtime.config.policies import Configuration
from runtime.config.settings import Port, ProcessSettings
from runtime.observability.tracing import exemplar_labels
from runtime.serving import serve, stop_signal
from services.dependency import guard_database
from services.grpc.server import serve_rpc
from services.mongo.client import open_database
from services.probes import ping
from services.process import serve_all, start, start_companions, start_loop_time, start_operations
from services.school.app import OPEN_MESSAGE, create_app
from services.school.grpc_service import rpc_services
from services.school.repository import mongo_store


class SchoolSettings(ProcessSettings):
    """The school service's settings."""

    school_service_port: Port = SCHOOL_SERVICE_PORT
    school_grpc_port: Port = SCHOOL_GRPC_PORT


async def run(settings: SchoolSettings, configuration: Configuration) -> None:
    """Serve until SIGTERM. MongoDB and the auth service may be down, now or later."""
    async with (
        trio_asyncio.open_loop(),
        open_database(settings.mongodb_uri.get_secret_value(), "school") as database,
        open_panel(durations=DURATION_BUCKETS, exemplar=exemplar_labels(), bound=get_contextvars) as panel,
        trio.open_nursery() as nursery,
    ):
        loop_time = await start_loop_time(nursery)
        keys = await start_companions(nursery, settings, panel)
        store = mongo_store(database)
        policies = configuration.with_probes({SCHOOL_DATABASE: lambda _: ping(database)})
        guard = guard_database(panel, policies[SCHOOL_DATABASE], OPEN_MESSAGE, loop_time)
        app = create_app(store=store, guard=guard, panel=panel, keys=keys)
        await start_operations(nursery, SCHOOL_SERVICE, app, panel, keys, settings)

        async def serve_http(stop: Callable[[], Awaitable[None]]) -> None:
            port, grace = settings.school_service_port, settings.shutdown_grace
            await serve(app, host=settings.host, port=port, grace=grace, stop=stop)

        async def serve_grpc(stop: Callable[[], Awaitable[None]]) -> None:
            services = rpc_services(store, guard)
            port, grace = settings.school_grpc_port, settings.shutdown_grace
            await serve_rpc(services, host=settings.host, port=port, grace=grace, stop=stop)

        stop = app.extensions["readiness"].stop_after(settings.shutdown_delay, stop_signal)
        await serve_all(stop, serve_http, serve_grpc)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    start(SCHOOL_SERVICE, SchoolSettings, run)
