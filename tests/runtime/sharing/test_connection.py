"""A call whose connection closes under it fails as if the store were gone, for any client exception."""

from __future__ import annotations

import pytest
import trio

from actors.adapters.valkey import ValkeyConnection
from actors.sharing.store import StoreUnavailable
from tests.valkey import running_valkey


async def test_an_error_of_a_closing_pool_is_a_lost_connection() -> None:
    """So is any other exception: sharing must not end a program. It stays as the cause."""

    async def use(client: object) -> None:
        raise RuntimeError("Connection pool is not initialized or has exited")

    with running_valkey() as valkey:
        connection = ValkeyConnection(valkey.url)
        async with trio.open_nursery() as nursery:
            await nursery.start(connection.run)
            with trio.fail_after(20):
                while connection._client is None:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            with pytest.raises(StoreUnavailable, match="has exited") as caught:
                await connection.call(use)
            assert isinstance(caught.value.__cause__, RuntimeError)
            nursery.cancel_scope.cancel()
