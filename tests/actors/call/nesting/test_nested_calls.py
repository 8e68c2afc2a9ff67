"""Calls that are nested in another one: behind awaitables, in threads and generators, and through httpx."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors import CircuitBreaker, open_panel
from actors.testing import DependencyDown
from tests.actors.call.nesting.calls import (
    PAIRS,
    STYLES,
    Call,
    call,
    down,
    expect_failure,
    failures,
    in_child,
    opened,
)


class AwaitableByGenerator:
    """An awaitable whose `__await__` is a generator."""

    def __init__(self, function: Call) -> None:
        self._function = function

    def __await__(self) -> Any:
        return (yield from self._function().__await__())


class AwaitableByCoroutine(AwaitableByGenerator):
    """An awaitable whose `__await__` returns the iterator of a coroutine."""

    def __await__(self) -> Any:
        return self._function().__await__()


async def in_an_async_generator(function: Call) -> None:
    async def steps() -> AsyncIterator[None]:
        await function()
        yield

    async for _ in steps():
        pass


@pytest.mark.parametrize("awaits", [AwaitableByGenerator, AwaitableByCoroutine, in_an_async_generator])
@pytest.mark.parametrize("outer", ["execute", "protect"])
async def test_a_parents_call_is_found_behind_any_awaitable(
    outer: str, awaits: Callable[[Call], Awaitable[Any]]
) -> None:
    async with opened("plain") as breaker:

        async def inside() -> None:
            await awaits(in_child(lambda: breaker.execute(down)))

        async def around() -> None:
            await awaits(lambda: call(breaker, outer, inside))

        with pytest.raises(ExceptionGroup):
            await around()
        assert await failures(breaker) == 1


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_task_is_nested_in_the_call_that_starts_it_until_started(outer: str, inner: str) -> None:
    async with opened("result") as breaker, trio.open_nursery() as nursery:

        async def service(task_status: trio.TaskStatus[None]) -> None:
            await expect_failure(breaker, inner, down)
            assert (await breaker.snapshot()).counts["failure"] == 0
            task_status.started()
            await expect_failure(breaker, inner, down)

        await call(breaker, outer, partial(nursery.start, service))
        await wait_all_tasks_blocked()
        snapshot = await breaker.snapshot()
        assert snapshot.counts["failure"] == 1
        assert snapshot.counts["success"] == 1
        assert snapshot.in_flight == 0


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
async def test_a_call_from_a_thread_that_an_outer_call_waits_for_is_nested(outer: str, inner: str) -> None:
    async with opened("plain") as breaker:

        def in_thread() -> None:
            trio.from_thread.run(call, breaker, inner, down)

        await expect_failure(breaker, outer, lambda: trio.to_thread.run_sync(in_thread), DependencyDown)
        assert await failures(breaker) == 1


async def test_a_call_inside_of_an_async_generator_is_nested() -> None:
    async with opened("plain") as breaker:

        async def rows() -> AsyncIterator[int]:
            yield 1
            await breaker.execute(down)

        async def reads() -> None:
            async for _ in rows():
                pass

        await expect_failure(breaker, "execute", reads)
        assert await failures(breaker) == 1


@pytest.mark.parametrize("policy", ["plain", "result"])
@pytest.mark.parametrize("inner", STYLES)
async def test_the_block_of_a_guarded_context_manager_is_nested(policy: str, inner: str) -> None:
    async with opened(policy) as breaker:

        @asynccontextmanager
        async def session() -> AsyncIterator[None]:
            async with breaker.guard():
                yield

        with pytest.raises(DependencyDown):
            async with session():
                await call(breaker, inner, down)
        assert await failures(breaker) == 1


@pytest.mark.parametrize("outer", STYLES)
async def test_a_request_inside_of_a_call_through_its_hosts_breaker_counts_once(outer: str) -> None:
    httpx = pytest.importorskip("httpx")
    from actors.adapters.httpx import BreakerTransport

    async with open_panel() as panel:
        transport = BreakerTransport(httpx.MockTransport(lambda _request: httpx.Response(500)), panel)
        async with httpx.AsyncClient(transport=transport) as client:
            breaker = transport.breaker(httpx.URL("http://h.example/"))

            async def get() -> None:
                (await client.get("http://h.example/")).raise_for_status()

            await expect_failure(breaker, outer, get, httpx.HTTPStatusError)
            assert await failures(breaker) == 1


@pytest.mark.parametrize("inner", STYLES)
async def test_a_transports_calls_are_nested_in_the_request_and_its_body_readers_calls_are_not(
    inner: str,
) -> None:
    httpx = pytest.importorskip("httpx")
    from actors.adapters.httpx import BreakerTransport

    async with open_panel() as panel:
        breaker: CircuitBreaker

        async def breaks() -> None:
            raise httpx.ReadError("down")

        async def answer(_request: object) -> Any:
            await expect_failure(breaker, inner, breaks, httpx.ReadError)
            return httpx.Response(200, stream=TwoChunks())

        class TwoChunks(httpx.AsyncByteStream):  # type: ignore[misc, name-defined]
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield b"one"
                yield b"two"

        transport = BreakerTransport(httpx.MockTransport(answer), panel)
        async with httpx.AsyncClient(transport=transport) as client:
            breaker = transport.breaker(httpx.URL("http://h.example/"))
            async with client.stream("GET", "http://h.example/") as response:
                assert (await breaker.snapshot()).counts["failure"] == 0
                async for _ in response.aiter_bytes():
                    await expect_failure(breaker, inner, breaks, httpx.ReadError)
            assert await failures(breaker) == 2
            assert (await breaker.snapshot()).counts["success"] == 1
