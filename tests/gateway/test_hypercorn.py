"""The gateway on Hypercorn, for those who set it: what a client and a breaker must be able to rely on."""

import trio

from tests.gateway.house import served
from tests.gateway.test_exchange import GET, ask, envelope, post, settled
from tests.gateway.wire import Watch, answering, connect, ok, upstream


async def test_requests_pass_and_outages_are_counted():
    """A request with a body is answered; five against a dead service fail, the sixth is rejected."""
    async with (
        upstream(answering(ok(b"hello"))) as server,
        served(auth=server.url, gateway_server="hypercorn") as gateway,
    ):
        status, _, body = await ask(gateway.port, post(5, b"12345"))
        assert (status, body) == (200, b"hello")
    async with served(gateway_server="hypercorn") as gateway:
        codes = [envelope((await ask(gateway.port))[2])[0] for _ in range(6)]
    assert codes == ["SERVICE_UNAVAILABLE"] * 5 + ["CIRCUIT_BREAKER_OPEN"]


async def test_a_client_that_leaves_is_neutral():
    """Its upstream request ends within 100 ms, and the breaker counts a cancellation."""
    reached, closed = trio.Event(), trio.Event()

    async def script(peer):
        await peer.request()
        reached.set()
        await peer.rest()
        closed.set()

    async with upstream(script) as server, served(auth=server.url, gateway_server="hypercorn") as gateway:
        client = await connect(gateway.port)
        await client.send(GET)
        await reached.wait()
        watch = Watch()
        await client.stream.aclose()
        with trio.fail_after(2):
            await closed.wait()
        assert watch.seconds < 0.1
        assert await settled(gateway) == {"cancelled": 1}
