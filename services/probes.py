"""Active probes of the services' dependencies: each a function that returns where the dependency is well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pymongo
import trio
from grpclib.client import Channel
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from trio_asyncio import aio_as_trio

from services.mongo.client import Database, MongoDatabase

PROBE_SECONDS = 1.0

Probe = Callable[[], Awaitable[None]]


class NotServing(Exception):
    """A service answers, and says that it doesn't serve."""


def ping(database: Database, seconds: float = PROBE_SECONDS) -> Probe:
    """A probe that MongoDB's primary answers a ping, past every breaker.

    The probe raises what pymongo raises, and TimeoutError after `seconds`. Cancelling ends the command.
    """

    async def command(db: MongoDatabase) -> None:
        with pymongo.timeout(seconds):
            await db.client.admin.command("ping")

    return partial(_within, seconds, database.run, command)


def grpc_health(channel: Channel, service: str = "", seconds: float = PROBE_SECONDS) -> Probe:
    """A probe that `service`, or the server as a whole, is SERVING by the standard gRPC health protocol.

    The probe raises what grpclib raises, NotServing, and TimeoutError after `seconds`. Cancelling cancels
    the call. Must be used inside `trio_asyncio.open_loop()`.
    """

    async def check() -> None:
        request = HealthCheckRequest(service=service)
        reply = await aio_as_trio(HealthStub(channel).Check)(request, timeout=seconds)
        if reply.status != HealthCheckResponse.SERVING:
            status = HealthCheckResponse.ServingStatus.Name(reply.status)
            raise NotServing(f"{service or 'the server'} is {status}")

    return partial(_within, seconds, check)


async def _within(seconds: float, function: Callable[..., Awaitable[None]], *args: object) -> None:
    try:
        with trio.fail_after(seconds):
            await function(*args)
    except trio.TooSlowError:
        # The builtin one is what policies count.
        raise TimeoutError(f"no answer within {seconds:g} s") from None
