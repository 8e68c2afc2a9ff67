"""Deliveries of transitions to a webhook: content, retries, and receivers that fail."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import trio

from actors import CircuitBreaker, CircuitBreakerConfig, State, open_panel
from runtime.admin import webhook as module
from runtime.admin.webhook import Webhook, sign, start_webhook
from runtime.config.settings import ProcessSettings

Answer = Callable[[httpx.Request], Awaitable[httpx.Response]]


class ScriptedReceiver(httpx.AsyncBaseTransport):
    """Records each delivery, and answers it as the test has set."""

    def __init__(self, *answers: Answer) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)
        self.away = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.away:
            return await refuse(request)
        return await (self._answers.pop(0) if self._answers else status(204))(request)

    def told(self) -> list[tuple[str, str]]:
        found = [json.loads(request.content)["transition"] for request in self.requests]
        return [(one["old"], one["new"]) for one in found]


def status(code: int) -> Answer:
    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(code)

    return answer


async def hang(_: httpx.Request) -> httpx.Response:
    await trio.sleep_forever()
    raise AssertionError


async def refuse(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused")


@asynccontextmanager
async def told(receiver: ScriptedReceiver, **more: Any) -> AsyncIterator[CircuitBreaker]:
    """A breaker whose transitions go to `receiver`."""
    hook = Webhook("auth-service", "http://hooks.example/x", "key", transport=receiver, **more)
    async with open_panel() as panel, trio.open_nursery() as nursery:
        await nursery.start(hook.run, panel)
        yield panel.breaker(CircuitBreakerConfig(name="auth-database"))
        nursery.cancel_scope.cancel()


async def test_a_transition_is_sent_and_signed(autojump_clock: trio.testing.MockClock) -> None:
    """The signature covers time and body; a receiver computes the same one."""
    receiver = ScriptedReceiver()
    async with told(receiver, clock=lambda: 1_700_000_000.5) as breaker:
        await breaker.trip("why")
        await trio.sleep(1)
    [request] = receiver.requests
    body = json.loads(request.content)
    assert (body["process"], body["lost"], "worker" in body) == ("auth-service", 0, False)
    assert body["id"] == request.headers["X-Webhook-Id"]
    assert body["transition"]["breaker"] == "auth-database"
    assert body["transition"]["reason"] == "why"
    digest = hmac.new(b"key", b"1700000000." + request.content, hashlib.sha256).hexdigest()
    assert request.headers["X-Webhook-Signature"] == f"t=1700000000,v1={digest}"


async def test_a_failed_delivery_is_repeated_before_the_next_event(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After no connection, a 500 or a 429. The delivery keeps its id."""
    receiver = ScriptedReceiver(refuse, status(500), status(429))
    async with told(receiver) as breaker:
        await breaker.trip()
        await breaker.reset()
        await trio.sleep(120)
    assert receiver.told() == [("CLOSED", "OPEN")] * 4 + [("OPEN", "CLOSED")]
    ids = [request.headers["X-Webhook-Id"] for request in receiver.requests]
    assert len(set(ids[:4])) == 1
    assert len(set(ids)) == 2


async def test_the_pauses_between_attempts_double_up_to_a_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    at: list[float] = []

    async def fail(_: httpx.Request) -> httpx.Response:
        at.append(trio.current_time())
        return httpx.Response(503)

    tries = CircuitBreakerConfig(name="webhook", max_failures=1000)
    async with told(ScriptedReceiver(*[fail] * 9), policy=tries) as breaker:
        await breaker.trip()
        await trio.sleep(400)
    assert [round(later - at[0], 3) for later in at] == [0, 1, 3, 7, 15, 31, 63, 123, 183]


async def test_a_4xx_or_a_redirect_is_not_repeated(autojump_clock: trio.testing.MockClock) -> None:
    async def redirect(_: httpx.Request) -> httpx.Response:
        return httpx.Response(307, headers={"Location": "http://elsewhere.example/"})

    receiver = ScriptedReceiver(status(400), redirect)
    with structlog.testing.capture_logs() as lines:
        async with told(receiver) as breaker:
            await breaker.trip()
            await breaker.reset()
            await trio.sleep(60)
    assert receiver.told() == [("CLOSED", "OPEN"), ("OPEN", "CLOSED")]
    assert {request.url.host for request in receiver.requests} == {"hooks.example"}
    refused = [line["reason"] for line in lines if line["event"] == "webhook refused"]
    assert refused == ["status 400", "status 307"]


async def test_a_hanging_receiver_delays_no_transition(autojump_clock: trio.testing.MockClock) -> None:
    """Its own breaker opens, and memory is bounded."""
    receiver = ScriptedReceiver(*[hang] * 1000)
    async with told(receiver) as breaker:
        began = trio.current_time()
        for _ in range(1000):
            await breaker.trip()
            await breaker.reset()
        assert trio.current_time() == began
        await trio.sleep(300)
        assert breaker.state is State.CLOSED
        # 3 attempts of 5 s, then one in each 15 s that the breaker is open.
        assert len(receiver.requests) < 25


async def test_the_next_delivery_has_the_number_of_dropped_events(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest events are dropped."""
    monkeypatch.setattr(module, "WAITING", 4)
    receiver = ScriptedReceiver(refuse)
    async with told(receiver) as breaker:
        await breaker.trip()
        await trio.sleep(0.1)
        for _ in range(5):
            await breaker.reset()
            await breaker.trip()
        await trio.sleep(30)
    assert [json.loads(one.content)["lost"] for one in receiver.requests] == [0, 0, 6, 0, 0, 0]


async def test_an_event_is_given_up_after_ten_minutes(autojump_clock: trio.testing.MockClock) -> None:
    """With a line in the log. The next event has its own ten minutes."""
    receiver = ScriptedReceiver(*[refuse] * 1000)
    async with told(receiver) as breaker:
        with structlog.testing.capture_logs() as lines:
            await breaker.trip()
            await trio.sleep(module.GIVE_UP_SECONDS + 1)
    assert [one["breaker"] for one in lines if one["event"] == "webhook given up"] == ["auth-database"]


async def test_an_event_given_up_counts_as_dropped(autojump_clock: trio.testing.MockClock) -> None:
    receiver = ScriptedReceiver()
    receiver.away = True
    async with told(receiver) as breaker:
        await breaker.trip()
        await breaker.reset()
        await trio.sleep(module.GIVE_UP_SECONDS + 1)
        receiver.away = False
        await trio.sleep(60)
    last = json.loads(receiver.requests[-1].content)
    assert (last["transition"]["new"], last["lost"]) == ("CLOSED", 1)


async def test_the_log_has_the_status_or_error_type_and_no_secret(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The text of an error may contain the URL, and the URL a key."""

    async def blab(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"can't reach {request.url}")

    receiver = ScriptedReceiver(status(500), blab)
    with structlog.testing.capture_logs() as lines:
        async with told(receiver) as breaker:
            await breaker.trip("asked by ada@example.org")
            await trio.sleep(30)
    failed = [line["reason"] for line in lines if line["event"] == "webhook failed"]
    assert failed == ["status 500", "ConnectError"]
    assert "hooks.example" not in str(lines)
    assert json.loads(receiver.requests[0].content)["transition"]["reason"] == "asked by ***"


async def test_a_delivery_names_its_worker() -> None:
    """Workers have breakers of the same names."""
    receiver = ScriptedReceiver()
    async with told(receiver, worker=1) as breaker:
        await breaker.trip()
        await trio.testing.wait_all_tasks_blocked()
    assert json.loads(receiver.requests[0].content)["worker"] == 1


async def test_a_delivery_has_the_worker_number_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int | None] = []

    class Noted(Webhook):
        def __init__(self, *words: Any, worker: int | None, **more: Any) -> None:
            made.append(worker)
            super().__init__(*words, worker=worker, **more)

    monkeypatch.setattr(module, "Webhook", Noted)
    settings = ProcessSettings(webhook_url="http://127.0.0.1:1/")
    async with open_panel() as panel, trio.open_nursery() as nursery:
        await start_webhook(nursery, "x", settings, panel)
        with structlog.contextvars.bound_contextvars(worker=1):
            await start_webhook(nursery, "x", settings, panel)
        nursery.cancel_scope.cancel()
    assert made == [None, 1]


def test_the_receiver_of_the_guide_refuses_forged_deliveries() -> None:
    """The code of docs/how-to/operate.md: a forged body, a wrong secret and a replay."""
    page = (Path(__file__).parents[3] / "docs/how-to/operate.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    genuine, body = names["genuine"], b'{"lost": 0}'
    now = int(time.time())
    assert genuine(body, sign("key", body, now), "key")
    assert not genuine(body + b" ", sign("key", body, now), "key")
    assert not genuine(body, sign("key", body, now), "other")
    assert not genuine(body, sign("key", body, now - 301), "key")
    assert not genuine(body, sign("key", body, now).replace(str(now), str(now + 1)), "key")
    for garbage in ("", "t=1", "v1=00", "t=x,v1=00", f"t={now},v1=\xe9"):
        assert not genuine(body, garbage, "key")


async def test_the_webhook_is_off_by_default() -> None:
    async with open_panel() as panel, trio.open_nursery() as nursery:
        await start_webhook(nursery, "x", ProcessSettings(), panel)
        assert not nursery.child_tasks


async def test_settings_switch_the_webhook_on_and_hide_its_url() -> None:
    settings = ProcessSettings(webhook_url="http://127.0.0.1:1/s3cret", webhook_secret="k3y")
    assert "s3cret" not in repr(settings)
    assert "k3y" not in repr(settings)
    async with open_panel() as panel, trio.open_nursery() as nursery:
        await start_webhook(nursery, "x", settings, panel)
        assert len(nursery.child_tasks) == 1
        nursery.cancel_scope.cancel()
