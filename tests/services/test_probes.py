"""Active probes against real dependencies: well, dead, silent and not serving."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio_asyncio
from grpclib.health.check import ServiceStatus
from grpclib.health.service import OVERALL, Health
from grpclib.testing import ChannelFor
from pymongo.errors import PyMongoError
from trio_asyncio import aio_as_trio

from services.mongo.client import Database, open_database
from services.probes import NotServing, grpc_health, ping
from services.student.school_client import open_channel
from tests.mongo import Mongod, free_port


async def test_a_mongod_that_is_well(database: Database) -> None:
    await ping(database)()


async def test_a_mongod_that_is_dead_and_comes_back(
    own_mongod: Mongod, loop: trio_asyncio.TrioEventLoop
) -> None:
    async with open_database(own_mongod.uri, "x") as database:
        probe = ping(database)
        await probe()
        own_mongod.kill()
        with trio.fail_after(1.5), pytest.raises((PyMongoError, TimeoutError)):
            await probe()
        await trio.to_thread.run_sync(own_mongod.start)
        with trio.fail_after(5):
            while True:
                try:
                    await probe()
                except (PyMongoError, TimeoutError):
                    continue
                break


async def test_a_mongod_that_is_silent(own_mongod: Mongod, loop: trio_asyncio.TrioEventLoop) -> None:
    async with open_database(own_mongod.uri, "x") as database:
        probe = ping(database)
        await probe()
        own_mongod.freeze()
        with trio.fail_after(1.5), pytest.raises((PyMongoError, TimeoutError)):
            await probe()
        own_mongod.thaw()


async def test_a_service_that_serves_and_one_that_does_not(loop: trio_asyncio.TrioEventLoop) -> None:
    status = ServiceStatus()
    status.set(True)
    async with aio_as_trio(ChannelFor([Health({OVERALL: [status]})])) as channel:
        probe = grpc_health(channel)
        await probe()
        status.set(False)
        with pytest.raises(NotServing, match="NOT_SERVING"):
            await probe()


async def test_a_service_that_is_not_there(loop: trio_asyncio.TrioEventLoop) -> None:
    async with open_channel(f"127.0.0.1:{free_port()}") as channel:
        with pytest.raises(ConnectionRefusedError):
            await grpc_health(channel)()


async def test_a_service_that_is_silent(loop: trio_asyncio.TrioEventLoop, nursery: trio.Nursery) -> None:
    async def hold(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    [listener] = await nursery.start(partial(trio.serve_tcp, hold, 0, host="127.0.0.1"))
    port = listener.socket.getsockname()[1]
    async with open_channel(f"127.0.0.1:{port}") as channel:
        with trio.fail_after(1), pytest.raises(TimeoutError):
            await grpc_health(channel, seconds=0.2)()
    nursery.cancel_scope.cancel()
