"""The other instances of a process, in health and in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from quart_trio import QuartTrio

from actors import CircuitBreakerConfig, Panel, open_panel
from actors.sharing.link import SharingPolicy
from runtime.config.settings import ProcessSettings
from runtime.sharing.instances import READ_SECONDS, Place, by_instance
from runtime.sharing.process import ProcessSharing, open_sharing
from runtime.web.app import service_app
from tests.runtime.sharing.commands.admins import until
from tests.valkey import ValkeyServer, running_valkey

BREAKER = "auth-database"


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A server of the test's own."""
    with running_valkey() as server:
        yield server


@asynccontextmanager
async def instance(
    valkey: ValkeyServer, place: Place
) -> AsyncIterator[tuple[QuartTrio, Panel, ProcessSharing]]:
    """A process that shares its breaker, but decides alone."""
    settings = ProcessSettings(valkey_url=valkey.url)  # type: ignore[arg-type]
    async with open_panel() as panel:
        panel.breaker(CircuitBreakerConfig(name=BREAKER))
        async with open_sharing(place, panel, settings, SharingPolicy(quorum=100)) as sharing:
            assert sharing is not None
            app = service_app(place.process, panel)
            app.extensions["sharing"] = sharing
            yield app, panel, sharing


async def health(app: QuartTrio) -> tuple[int, dict]:
    response = await app.test_client().get("/health")
    return response.status_code, (await response.get_json())["data"]


async def listed(app: QuartTrio, addresses: list[str], seconds: float = 20) -> list[dict]:
    """The other instances in an app's health, once these addresses are listed."""
    with trio.fail_after(seconds):
        while [one["address"] for one in (await health(app))[1]["instances"]] != addresses:  # noqa: ASYNC110
            await trio.sleep(0.05)
    return (await health(app))[1]["instances"]


async def test_health_lists_the_other_instances_of_its_own_kind(valkey: ValkeyServer) -> None:
    """An unhealthy instance doesn't make others unhealthy; one that ends isn't listed any more."""
    async with AsyncExitStack() as stack:
        app, _, sharing = await stack.enter_async_context(instance(valkey, Place("auth-service", "a:1")))
        await stack.enter_async_context(instance(valkey, Place("school-service", "c:3")))
        async with instance(valkey, Place("auth-service", "b:2")) as (_, panel, theirs):
            await panel[BREAKER].trip("it is sick")
            await listed(app, ["b:2"])
            with trio.fail_after(20):
                while (found := await listed(app, ["b:2"]))[0]["breakers"][BREAKER]["state"] != "OPEN":  # noqa: ASYNC110
                    await trio.sleep(0.05)
            assert (found[0]["instance"], found[0]["workers"]) == (theirs.instance, 1)
            seen = found[0]["breakers"][BREAKER]
            assert (seen["status"], seen["reason"], seen["failure_count"]) == ("unhealthy", "it is sick", 0)
            assert seen["since"] == (await panel[BREAKER].snapshot()).unix_changed_at
            await until(lambda: sharing.status().connected, 20)
            status, data = await health(app)
            assert status == 200
            assert data["sharing"]["connected"] is True
            assert data["sharing"]["instance"] == sharing.instance
            metrics = await (await app.test_client().get("/metrics")).get_data(as_text=True)
            assert "circuit_breaker_shared_connected 1.0" in metrics
            assert "circuit_breaker_shared_dropped_total 0.0" in metrics
            assert "circuit_breaker_shared_news_age_seconds" in metrics
            assert metrics.count("circuit_breaker_state{") == 1
        await listed(app, [])


async def test_an_instance_that_dies_is_listed_for_some_seconds(valkey: ValkeyServer) -> None:
    """A killed instance can't sign off."""
    async with instance(valkey, Place("auth-service", "a:1")) as (app, _, _):
        async with instance(valkey, Place("auth-service", "b:2")) as (_, _, dead):
            await listed(app, ["b:2"])
            dead.instances._sign_off = trio.lowlevel.checkpoint  # type: ignore[method-assign]
        await trio.sleep(READ_SECONDS + 0.1)
        assert [one["address"] for one in (await health(app))[1]["instances"]] == ["b:2"]
        await listed(app, [])
        assert "b:2" not in valkey.command("HVALS", "school:1:{auth-service}:instances")


async def test_the_workers_of_one_address_are_one_instance(valkey: ValkeyServer) -> None:
    """None of them lists another one."""
    async with AsyncExitStack() as stack:
        apps = [
            (await stack.enter_async_context(instance(valkey, Place("api-gateway", "a:1", group))))[0]
            for group in ("first", "first", "second")
        ]
        found = await listed(apps[2], ["a:1"])
        with trio.fail_after(20):
            while (found := await listed(apps[2], ["a:1"]))[0]["workers"] != 2:  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert found[0]["instance"] == "first"
        assert [one["instance"] for one in await listed(apps[0], ["a:1"])] == ["second"]


async def test_health_without_the_store(valkey: ValkeyServer) -> None:
    """It lists no instances, shows that the store is gone, and takes no longer than usual."""
    async with instance(valkey, Place("auth-service", "a:1")) as (app, _, sharing):
        await until(lambda: sharing.status().connected, 20)
        valkey.freeze()
        await until(lambda: not sharing.status().connected, 20)
        began = trio.current_time()
        status, data = await health(app)
        assert trio.current_time() - began < 1
        assert (status, data["instances"], data["sharing"]["connected"]) == (200, [], False)
        assert data["sharing"]["news_age"] > 3
        metrics = await (await app.test_client().get("/metrics")).get_data(as_text=True)
        assert "circuit_breaker_shared_connected 0.0" in metrics


async def test_a_report_that_cannot_be_read_is_left_out(valkey: ValkeyServer) -> None:
    """Such as one of another version of this program."""
    async with instance(valkey, Place("auth-service", "a:1")) as (app, _, _):
        milliseconds = "9999999999999"
        for number, text in enumerate(("nonsense", "[]", '{"instance": "x"}', "{}")):
            key = "school:1:{auth-service}:instances"
            valkey.command("HSET", key, f"other-{number}", f"{milliseconds} {text}")
        async with instance(valkey, Place("auth-service", "b:2")):
            await listed(app, ["b:2"])


def report(state: str, failures: int = 0, since: float = 1.0, instance: str = "one") -> dict:
    breaker = {"state": state, "since": since, "reason": None, "failure_count": failures}
    return {"instance": instance, "address": f"{instance}:1", "breakers": {BREAKER: breaker}}


def test_of_an_instances_workers_the_worst_speaks() -> None:
    """State, time and failures are those of the one worst breaker."""
    reports = [report("CLOSED", 4, 5.0), report("HALF_OPEN", 0, 7.0), report("FORCED_OPEN", 1, 3.0)]
    for order in (reports, reports[::-1]):
        (found,) = by_instance(order)
        seen = found["breakers"][BREAKER]
        assert (seen["state"], seen["since"], seen["failure_count"]) == ("FORCED_OPEN", 3.0, 1)
        assert (seen["status"], found["workers"]) == ("unhealthy", 3)
