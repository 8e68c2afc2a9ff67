"""`python -m services.student` runs the student service as a process, in the foreground."""

from __future__ import annotations

import trio_asyncio

from protocols.topology import STUDENT_DATABASE, STUDENT_SERVICE, STUDENT_SERVICE_GRPC, STUDENT_SERVICE_PORT
from runtime.config.policies import Configuration
from runtime.config.settings import Port
from runtime.serving import serve, stop_signal
from services.grpc.probe import health_probe
from services.mongo.dependency import database_dependency
from services.mongo.probe import ping_probe
from services.process import GrpcSettings, open_parts, start, start_operations, start_token_verifier
from services.student.app import REJECTION_MESSAGE, create_app
from services.student.repository import student_repository
from services.student.school_client import GrpcSchoolClient, SchoolCheck, open_channel
from services.student.students import Students


class StudentSettings(GrpcSettings):
    """The student service's settings."""

    student_service_port: Port = STUDENT_SERVICE_PORT


async def run(settings: StudentSettings, configuration: Configuration) -> None:
    """Serve until SIGTERM. MongoDB, the auth and the school service may be down at any time."""
    port, grace = settings.student_service_port, settings.shutdown_grace
    async with (
        trio_asyncio.open_loop(),
        open_channel(settings.school_grpc_address) as channel,
        open_parts(STUDENT_SERVICE, "student", port, settings, configuration) as parts,
    ):
        client, panel, _, nursery, loop_time = parts
        keys = await start_token_verifier(nursery, settings)
        policies = configuration.with_probes(
            {
                STUDENT_DATABASE: lambda _: ping_probe(client),
                STUDENT_SERVICE_GRPC: lambda _: health_probe(channel),
            }
        )
        database = database_dependency(panel, policies[STUDENT_DATABASE], REJECTION_MESSAGE, loop_time)
        school_client = GrpcSchoolClient(
            channel, address=settings.school_grpc_address, secret=settings.grpc_secret()
        )
        schools = SchoolCheck(
            school_client,
            panel,
            policies[STUDENT_SERVICE_GRPC],
            loop_time,
            address=settings.school_grpc_address,
        )
        students = Students(student_repository(client), database, schools)
        app = create_app(students, panel=panel, keys=keys)
        await start_operations(STUDENT_SERVICE, app, parts, keys, settings)
        stop = app.extensions["readiness"].stop_after(settings.shutdown_delay, stop_signal)
        await serve(app, host=settings.host, port=port, grace=grace, stop=stop)


if __name__ == "__main__":
    start(STUDENT_SERVICE, StudentSettings, run)
