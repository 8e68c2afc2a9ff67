"""A handler's error is a failure of the service only if three clients meet it."""

from actors.messages import State
from gateway.upstream.handler_failures import HANDLER_SECONDS, HandlerFailures
from tests.gateway.raw_requests import GET, ask
from tests.gateway.running_gateway import served
from tests.gateway.wire import answering, upstream


def test_one_client_alone_never_makes_a_handlers_error_a_failure():
    handlers = HandlerFailures()
    assert not any(handlers.counts("one", n / 10) for n in range(500))


def test_two_clients_never_make_a_handlers_error_a_failure():
    handlers = HandlerFailures()
    assert not any(handlers.counts(f"client {n % 2}", n / 10) for n in range(500))


def test_the_third_client_makes_a_handlers_error_a_failure():
    handlers = HandlerFailures()
    counted = [handlers.counts(client, 0.0) for client in ("a", "b", "a", "c", "a")]
    assert counted == [False, False, False, True, True]


def test_clients_are_forgotten_after_a_minute():
    handlers = HandlerFailures()
    handlers.counts("a", 0.0)
    handlers.counts("b", 1.0)
    assert not handlers.counts("c", HANDLER_SECONDS)
    assert not handlers.counts("a", HANDLER_SECONDS + 1.5)
    assert handlers.counts("d", HANDLER_SECONDS + 1.9)


def test_the_number_of_remembered_clients_is_bounded():
    handlers = HandlerFailures()
    for n in range(10_000):
        handlers.counts(n, 0.0)
    assert len(handlers._recent) == 100


HANDLER_FAILED = b"HTTP/1.1 500 Oh\r\nX-Handler-Failure: 1\r\ncontent-length: 2\r\n\r\nno"


async def test_one_clients_data_cannot_open_the_breaker():
    async with upstream(answering(HANDLER_FAILED)) as server, served(auth=server.url) as gateway:
        for _ in range(10):
            status, head, _ = await ask(gateway.port)
            assert status == 500
            assert b"handler-failure" not in head.lower()
        assert await gateway.counts() == {"ignored": 10}


async def test_a_handler_that_fails_for_every_client_opens_the_breaker():
    trusting = {"trusted_proxies": "127.0.0.1"}
    async with upstream(answering(HANDLER_FAILED)) as server, served(auth=server.url, **trusting) as gateway:
        for n in range(10):
            address = b"X-Forwarded-For: 192.0.2.%d\r\n\r\n" % n
            await ask(gateway.port, GET[:-2] + address)
        assert (await gateway.snapshot()).state is State.OPEN
        assert await gateway.counts() == {"ignored": 2, "failure": 5, "rejected": 3}
