"""The active probe of a gRPC server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from grpclib.client import Channel
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from trio_asyncio import aio_as_trio

from services.deadlines import answer_within

PROBE_SECONDS = 1.0


class NotServing(Exception):
    """The health check answered with another status than SERVING."""


def health_probe(
    channel: Channel, service: str = "", seconds: float = PROBE_SECONDS
) -> Callable[[], Awaitable[None]]:
    """A probe for a breaker's policy: it returns if `service` is SERVING by the gRPC health protocol.

    service: a full name such as `school.SchoolService`; empty: the server as a whole. The probe raises what
    grpclib raises, NotServing, and TimeoutError after `seconds`. Cancelling cancels the call. Must be used
    inside `trio_asyncio.open_loop()`.
    """

    async def check() -> None:
        request = HealthCheckRequest(service=service)
        reply = await aio_as_trio(HealthStub(channel).Check)(request, timeout=seconds)
        if reply.status != HealthCheckResponse.SERVING:
            status = HealthCheckResponse.ServingStatus.Name(reply.status)
            raise NotServing(f"{service or 'the server'} is {status}")

    return partial(answer_within, seconds, check)
