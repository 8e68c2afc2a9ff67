"""`python -m services.school` runs the school service as a process, in the foreground."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import trio_asyncio

from protocols.topology import SCHOOL_DATABASE, SCHOOL_GRPC_PORT, SCHOOL_SERVICE, SCHOOL_SERVICE_PORT
from runtime.config.policies import Configuration
from runtime.config.settings import Port
from runtime.serving import serve, stop_signal
from services.grpc.server import serve_grpc
from services.mongo.dependency import database_dependency
from services.mongo.probe import ping_probe
from services.process import (
    GrpcSettings,
    open_parts,
    serve_all,
    start,
    start_operations,
    start_token_verifier,
)
from services.school.app import REJECTION_MESSAGE, create_app
from services.school.grpc_service import grpc_services
from services.school.repository import school_repository


class SchoolSettings(GrpcSettings):
    """The school service's settings. grpc_reflection: serve gRPC's reflection."""

    school_service_port: Port = SCHOOL_SERVICE_PORT
    school_grpc_port: Port = SCHOOL_GRPC_PORT
    grpc_reflection: Literal["on", "off"] = "on"


async def run(settings: SchoolSettings, configuration: Configuration) -> None:
    """Serve HTTP and gRPC until SIGTERM. MongoDB and the auth service may be down at any time."""
    port, grace = settings.school_service_port, settings.shutdown_grace
    async with (
        trio_asyncio.open_loop(),
        open_parts(SCHOOL_SERVICE, "school", port, settings, configuration) as parts,
    ):
        client, panel, _, nursery, loop_time = parts
        keys = await start_token_verifier(nursery, settings)
        repository = school_repository(client)
        policies = configuration.with_probes({SCHOOL_DATABASE: lambda _: ping_probe(client)})
        database = database_dependency(panel, policies[SCHOOL_DATABASE], REJECTION_MESSAGE, loop_time)
        app = create_app(repository=repository, database=database, panel=panel, keys=keys)
        await start_operations(SCHOOL_SERVICE, app, parts, keys, settings)

        async def serve_http(stop: Callable[[], Awaitable[None]]) -> None:
            await serve(app, host=settings.host, port=port, grace=grace, stop=stop)

        async def serve_rpc(stop: Callable[[], Awaitable[None]]) -> None:
            services = grpc_services(
                repository,
                database,
                secret=settings.grpc_secret(),
                reflection=settings.grpc_reflection == "on",
            )
            rpc_port = settings.school_grpc_port
            await serve_grpc(services, host=settings.host, port=rpc_port, grace=grace, stop=stop)

        stop = app.extensions["readiness"].stop_after(settings.shutdown_delay, stop_signal)
        await serve_all(stop, serve_http, serve_rpc)


if __name__ == "__main__":
    start(SCHOOL_SERVICE, SchoolSettings, run)
