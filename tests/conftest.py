"""Fixtures for all tests: a real MongoDB, a real Valkey, and the asyncio loop that MongoDB's driver needs.

The fixtures import their packages themselves: the tests of the library run without the stack's packages.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

# An assertion that fails in a helper module shows its values too.
_FOLDERS = ("actors", "browser", "conformance", "deploy", "gateway", "runtime", "services", "stack", "world")
pytest.register_assert_rewrite(*(f"tests.{folder}" for folder in _FOLDERS))

PATIENT_SECONDS = 60.0
"""The time limit of an operation in tests that aren't about it.

Twelve transactions that conflict take half a second on an idle machine. On a busy one they take longer than
the services' five seconds, and then fail.
"""

if TYPE_CHECKING:
    import trio_asyncio

    from services.mongo.client import Database
    from tests.mongo import Mongod
    from tests.valkey import ValkeyServer


@pytest.fixture(scope="session")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """One running mongod for the whole test run. Tests that kill or freeze it use `own_mongod`."""
    yield from _running(tmp_path_factory)


@pytest.fixture
def own_mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A mongod for one test, which may kill and freeze it."""
    yield from _running(tmp_path_factory)


def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    from deploy.config import StackError
    from deploy.programs.mongodb import find_mongod
    from tests.mongo import Mongod

    try:
        find_mongod()
    except StackError as error:
        pytest.skip(str(error))
    server = Mongod(tmp_path_factory.mktemp("mongod"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A running Valkey for one test, empty, with a password. The test may kill, freeze and empty it."""
    from deploy.config import StackError
    from deploy.programs.valkey import find_server
    from tests.valkey import running_valkey

    try:
        find_server()
    except StackError as error:
        pytest.skip(str(error))
    with running_valkey() as server:
        yield server


@pytest.fixture
async def loop() -> AsyncIterator[trio_asyncio.TrioEventLoop]:
    """The asyncio loop of this test, for libraries that need asyncio."""
    import trio_asyncio

    async with trio_asyncio.open_loop() as opened:
        yield opened


@pytest.fixture
async def database(mongod: Mongod, loop: trio_asyncio.TrioEventLoop) -> AsyncIterator[Database]:
    """A new database for one test, dropped afterwards. Its operations may take PATIENT_SECONDS."""
    from services.mongo.client import open_database

    name = f"test_{uuid.uuid4().hex[:12]}"
    async with open_database(mongod.uri, name, seconds=PATIENT_SECONDS) as opened:
        yield opened
        await opened.run(lambda db: db.client.drop_database(name))
