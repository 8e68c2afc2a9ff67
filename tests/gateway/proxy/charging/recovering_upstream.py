"""A service that fails once and then recovers, and a breaker that waits to probe it."""

import trio

from actors.messages import State
from tests.gateway.raw_requests import ask
from tests.gateway.wire import Peer

PROBING = {"max_failures": 1, "reset_timeout": 0.2}


async def reopened(gateway, peers):
    """Open the breaker by a failure, and wait until its probe is due."""
    await ask(gateway.port)
    assert (await gateway.snapshot()).state is State.OPEN
    peers.append(True)
    await trio.sleep(0.25)


def recovering(script):
    """An upstream that resets its first connection, and then runs `script`."""
    down = []

    async def run(peer: Peer):
        await peer.until(b"\r\n\r\n")
        if not down:
            peer.reset()
            return
        await script(peer)

    return run, down
