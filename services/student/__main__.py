"""`python -m services.student`: the student service as a process, in the foreground."""

from __future__ import annotations

import trio
import trio_asyncio
from structlog.contextvars import get_contextvars

from actors import DURATION_BUCKETS, open_panel
from protocols.topology import STUDENT_DATABASE, STUDENT_SERVICE, STUDENT_SERVICE_GRPC, STUDENT_SERVICE_PORT
from runtime.config.policies import Configuration
from runtime.config.settings import Port, ProcessSettings
from runtime.observability.tracing import exemplar_labels
from runtime.serving import serve, stop_signal
from services.dependency import guard_database
from services.mongo.client import open_database
from services.probes import grpc_health, ping
from services.process import start, start_companions, start_loop_time, start_operations
from services.student.app import OPEN_MESSAGE, Students, create_app
from services.student.repository import mongo_store
from services.student.school_client import GrpcSchools, SchoolCheck, open_channel


class StudentSettings(ProcessSettings):
    """The student service's settings."""

    student_service_port: Port = STUDENT_SERVICE_PORT


async def run(settings: StudentSettings, configuration: Configuration) -> None:
    """Serve until SIGTERM. MongoDB, the auth and the school service may be down, now or later."""
    async with (
        trio_asyncio.open_loop(),
        open_database(settings.mongodb_uri.get_secret_value(), "student") as database,
        open_channel(settings.school_grpc_address) as channel,
        open_panel(durations=DURATION_BUCKETS, exemplar=exemplar_labels(), bound=get_contextvars) as panel,
        trio.open_nursery() as nursery,
    ):
        loop_time = await start_loop_time(nursery)
        keys = await start_companions(nursery, settings, panel)
        policies = configuration.with_probes(
            {
                STUDENT_DATABASE: lambda _: ping(database),
                STUDENT_SERVICE_GRPC: lambda _: grpc_health(channel),
            }
        )
        guard = guard_database(panel, policies[STUDENT_DATABASE], OPEN_MESSAGE, loop_time)
        asked = GrpcSchools(channel, address=settings.school_grpc_address)
        schools = SchoolCheck(asked, panel, policies[STUDENT_SERVICE_GRPC], loop_time)
        students = Students(mongo_store(database), guard, schools)
        app = create_app(students, panel=panel, keys=keys)
        await start_operations(nursery, STUDENT_SERVICE, app, panel, keys, settings)
        stop = app.extensions["readiness"].stop_after(settings.shutdown_delay, stop_signal)
        port, grace = settings.student_service_port, settings.shutdown_grace
        await serve(app, host=settings.host, port=port, grace=grace, stop=stop)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    start(STUDENT_SERVICE, StudentSettings, run)
