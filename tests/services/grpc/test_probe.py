"""The probe of a gRPC server: serving, not serving, absent and silent."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio_asyncio
from grpclib.health.check import ServiceStatus
from grpclib.health.service import OVERALL, Health
from grpclib.testing import ChannelFor
from trio_asyncio import aio_as_trio

from services.grpc.probe import NotServing, health_probe
from services.student.school_client import open_channel
from tests.mongo import free_port


async def test_a_probe_succeeds_only_if_the_service_serves(loop: trio_asyncio.TrioEventLoop) -> None:
    status = ServiceStatus()
    status.set(True)
    async with aio_as_trio(ChannelFor([Health({OVERALL: [status]})])) as channel:
        probe = health_probe(channel)
        await probe()
        status.set(False)
        with pytest.raises(NotServing, match="NOT_SERVING"):
            await probe()


async def test_a_probe_of_an_absent_service_fails(loop: trio_asyncio.TrioEventLoop) -> None:
    async with open_channel(f"127.0.0.1:{free_port()}") as channel:
        with pytest.raises(ConnectionRefusedError):
            await health_probe(channel)()


async def test_a_probe_of_a_silent_service_fails(
    loop: trio_asyncio.TrioEventLoop, nursery: trio.Nursery
) -> None:
    async def hold(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    [listener] = await nursery.start(partial(trio.serve_tcp, hold, 0, host="127.0.0.1"))
    port = listener.socket.getsockname()[1]
    async with open_channel(f"127.0.0.1:{port}") as channel:
        with trio.fail_after(1), pytest.raises(TimeoutError):
            await health_probe(channel, seconds=0.2)()
    nursery.cancel_scope.cancel()
