"""Waiting for a connection to a real server."""

from __future__ import annotations

import trio

from actors.sharing.shared_breakers import SharedBreakers


async def connected(sharing: SharedBreakers) -> None:
    """Wait until the store has replied."""
    with trio.fail_after(10):
        while not sharing.status().connected:  # noqa: ASYNC110
            await trio.sleep(0.02)
