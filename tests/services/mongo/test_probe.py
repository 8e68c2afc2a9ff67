"""The probe of a real MongoDB: well, dead and silent."""

from __future__ import annotations

import pytest
import trio
import trio_asyncio
from pymongo.errors import PyMongoError

from services.mongo.client import Database, open_database
from services.mongo.probe import ping_probe
from tests.mongo import Mongod


async def test_a_probe_of_a_running_mongod_succeeds(database: Database) -> None:
    await ping_probe(database)()


async def test_a_probe_fails_until_the_mongod_is_back(
    own_mongod: Mongod, loop: trio_asyncio.TrioEventLoop
) -> None:
    async with open_database(own_mongod.uri, "x") as database:
        probe = ping_probe(database)
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


async def test_a_probe_of_a_frozen_mongod_fails(own_mongod: Mongod, loop: trio_asyncio.TrioEventLoop) -> None:
    async with open_database(own_mongod.uri, "x") as database:
        probe = ping_probe(database)
        await probe()
        own_mongod.freeze()
        with trio.fail_after(1.5), pytest.raises((PyMongoError, TimeoutError)):
            await probe()
        own_mongod.thaw()
