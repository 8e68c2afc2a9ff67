"""Faults of a server: each ends in StoreUnavailable and in the status, and goes no further."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import coredis
import pytest
import trio

from actors import CircuitBreakerConfig, Panel, open_panel
from actors.adapters.valkey import ValkeyConnection, ValkeyStore, failure_in, reason_of, share_breakers
from actors.sharing.evidence import Judgement, Rule
from actors.sharing.requests import Report
from actors.sharing.store import StoreUnavailable
from tests.actors.adapters.valkey.connecting import connected
from tests.valkey import ValkeyServer

REPORT = Report("me", Judgement.GOOD, 0, 0, 0, 1000, Rule(2, 30_000, 250))


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[ValkeyStore]:
    """A store whose connection is being opened."""
    connection = ValkeyConnection(url)
    store = ValkeyStore(connection)
    async with trio.open_nursery() as nursery:
        await nursery.start(connection.run)
        yield store
        nursery.cancel_scope.cancel()


async def reply(store: ValkeyStore) -> int:
    """How many replies there are to one report, as soon as there are any."""
    with trio.fail_after(10):
        while True:
            try:
                return len(await store.exchange([("it", REPORT)]))
            except StoreUnavailable:
                await trio.sleep(0.02)


async def reason(store: ValkeyStore, but: str = "not connected yet") -> str:
    """The reason why the store is unavailable."""
    with trio.fail_after(10):
        while True:
            try:
                await store.exchange([("it", REPORT)])
            except StoreUnavailable as error:
                if str(error) != but:
                    return str(error)
            await trio.sleep(0.02)


async def test_the_script_is_loaded_where_it_is_missing(valkey: ValkeyServer) -> None:
    async with open_store(valkey.url) as store:
        assert await reply(store) == 1
        valkey.command("SCRIPT", "FLUSH")
        assert len(await store.exchange([("it", REPORT), ("other", REPORT)])) == 2


async def test_a_restarted_server_has_no_script_and_gets_it(valkey: ValkeyServer) -> None:
    async with open_store(valkey.url) as store:
        await reply(store)
        valkey.restart()
        assert await reply(store) == 1


async def test_a_wrong_password_is_a_reason_without_the_password(valkey: ValkeyServer) -> None:
    async with open_store(valkey.url.replace(valkey.password, "wrong-word")) as store:
        found = await reason(store)
        assert "Authentication" in found or "WRONGPASS" in found
        assert "wrong-word" not in found


async def test_a_server_without_tls_is_a_reason(valkey: ValkeyServer) -> None:
    async with open_store(valkey.url.replace("valkey", "valkeys", 1)) as store:
        assert await reason(store)


async def test_no_server_is_a_reason() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with open_store(f"redis://127.0.0.1:{unused.getsockname()[1]}") as store:
            assert "onnect" in await reason(store)


async def test_a_full_server_is_a_reason_and_recovers(valkey: ValkeyServer) -> None:
    async with open_store(valkey.url) as store:
        await reply(store)
        valkey.command("CONFIG", "SET", "maxmemory", "1")
        assert "memory" in await reason(store)
        valkey.command("CONFIG", "SET", "maxmemory", "64mb")
        assert await reply(store) == 1


async def test_a_key_of_another_type_is_a_reason(valkey: ValkeyServer) -> None:
    async with open_store(valkey.url) as store:
        await reply(store)
        valkey.flush()
        valkey.command("SET", "trio-breakers:1:{it}", "text")
        assert "WRONGTYPE" in await reason(store) or "kind of value" in await reason(store)


async def test_a_server_that_hangs_costs_a_third_of_a_second(valkey: ValkeyServer) -> None:
    async with open_store(valkey.url) as store:
        await reply(store)
        valkey.freeze()
        with pytest.raises(StoreUnavailable, match="no answer within 0.3 s"):
            await store.exchange([("it", REPORT)])
        # Its connections are opened anew, in vain.
        assert await reason(store, "no answer within 0.3 s")
        valkey.thaw()
        assert await reply(store) == 1


async def test_whatever_a_use_raises_is_a_reason(valkey: ValkeyServer) -> None:
    async def use(client: object) -> None:
        raise KeyError("its own")

    async def many(client: object) -> None:
        raise ExceptionGroup("several", [OSError("the first"), OSError("the second")])

    async with open_store(valkey.url) as store:
        await reply(store)
        with pytest.raises(StoreUnavailable, match="KeyError: 'its own'"):
            await store._script._connection.call(use)
        with pytest.raises(StoreUnavailable, match="OSError: the first"):
            await store._script._connection.call(many)


async def test_news_reaches_another_instance_without_its_poll(valkey: ValkeyServer) -> None:
    heard: list[str | None] = []
    async with open_store(valkey.url) as one, open_store(valkey.url) as other, trio.open_nursery() as nursery:
        await nursery.start(other.listen, heard.append)
        await reply(one)
        await reply(other)
        bad = REPORT._replace(verdict=Judgement.BAD, share=1_000_000, rule=Rule(1, 30_000, 0))
        heard.clear()
        await one.exchange([("it", bad)])
        with trio.fail_after(5):
            while "it" not in heard:  # noqa: ASYNC110
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("step", [0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.5])
@pytest.mark.parametrize("frozen", [False, True])
async def test_a_cancellation_at_any_time_leaves_no_group_and_no_task(
    valkey: ValkeyServer, step: float, frozen: bool
) -> None:
    if frozen:
        valkey.freeze()
    root = trio.lowlevel.current_root_task()
    assert root is not None
    tasks = trio.lowlevel.current_statistics().tasks_living
    with trio.move_on_after(step) as scope:
        async with open_panel() as panel, share_breakers(panel, valkey.url):
            panel.breaker(CircuitBreakerConfig(name="it"))
            await trio.sleep_forever()
    assert scope.cancelled_caught
    await trio.testing.wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_an_exception_of_the_block_comes_out_alone(panel: Panel, valkey: ValkeyServer) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        async with share_breakers(panel, valkey.url) as sharing:
            panel.breaker(CircuitBreakerConfig(name="it"))
            await connected(sharing)
            raise KeyError("of the program")
    assert caught.group_contains(KeyError)
    assert len(list(leaves(caught.value))) == 1


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]


def test_the_failure_in_a_group_is_the_first_that_is_no_cancellation() -> None:
    group = BaseExceptionGroup("", [ExceptionGroup("", [OSError("first"), OSError("second")])])
    assert str(failure_in(group)) == "first"
    with pytest.raises(BaseExceptionGroup) as caught:
        failure_in(BaseExceptionGroup("", [OSError(), KeyboardInterrupt()]))
    assert caught.group_contains(KeyboardInterrupt)


async def test_a_group_of_cancellations_alone_is_no_failure_of_the_server() -> None:
    caught: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep(1)
        except trio.Cancelled as error:
            caught.append(error)
            raise
    assert str(failure_in(BaseExceptionGroup("", caught))) == "cancelled"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("why"), "OSError: why"),
        (OSError(), "OSError"),
        (StoreUnavailable("why"), "why"),
        (ExceptionGroup("", [OSError("why")]), "OSError: why"),
    ],
)
def test_an_error_in_words(error: Exception, words: str) -> None:
    assert reason_of(error) == words


def test_the_reason_of_an_error_without_text_is_its_cause() -> None:
    error = trio.BrokenResourceError()
    error.__cause__ = OSError("reset")
    assert reason_of(error) == "BrokenResourceError: reset"


def test_coredis_names_a_missing_script() -> None:
    assert issubclass(coredis.exceptions.NoScriptError, coredis.exceptions.RedisError)
