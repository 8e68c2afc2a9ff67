"""Transitions told to a URL: signed, tried again, behind a breaker of its own, and never in anybody's way.

What waits is bounded: the oldest events are dropped first, and the next delivery says how many.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable

import httpx
import structlog
import trio

from actors import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, Panel, open_panel
from actors.adapters.httpx import is_failure
from actors.adapters.logs import log_transitions
from actors.messages import EventsLost, Transition
from runtime.admin.history import transition_view
from runtime.config.settings import ProcessSettings
from runtime.observability.redaction import redact

BREAKER = "webhook"
WAITING = 256
"""Events that may wait for a receiver that is away."""
GIVE_UP_SECONDS = 600.0
"""How long one event is tried."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
SIGNATURE = "X-Webhook-Signature"
DELIVERY = "X-Webhook-Id"

# A receiver that hangs costs one attempt five seconds, and then nothing while the breaker is open.
POLICY = CircuitBreakerConfig(
    name=BREAKER, max_failures=3, reset_timeout=15.0, call_timeout=5.0, failure=is_failure
)

log = structlog.get_logger("webhook")


class WebhookRefused(Exception):
    """The receiver answered that it doesn't want this event: no use in trying again."""


def sign(secret: str, body: bytes, now: int) -> str:
    """`t=<now>,v1=<hex>`: HMAC-SHA256 of "<now>." and the body. A receiver refuses old times."""
    digest = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


class Webhook:
    """Delivers the transitions of a panel to `url`, one after the other, in order.

    worker: which of several processes that share a name this is.
    transport: how it gets there; httpx's own where None.
    """

    def __init__(
        self,
        process: str,
        url: str,
        secret: str | None,
        *,
        worker: int | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        policy: CircuitBreakerConfig = POLICY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sender = {"process": process, **({} if worker is None else {"worker": worker})}
        self._url = url
        self._secret = secret
        self._transport = transport
        self._policy = policy
        self._clock = clock
        self._lost = 0

    async def run(
        self, panel: Panel, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Deliver until the panel closes. Cancelling drops what waits."""
        async with (
            panel.events(buffer=WAITING) as events,
            # Its own panel: whoever asks for the health of the stack doesn't ask for this.
            open_panel() as own,
            httpx.AsyncClient(transport=self._transport, follow_redirects=False) as client,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(log_transitions, own)
            breaker = own.breaker(self._policy)
            task_status.started()
            async for event in events:
                if isinstance(event, EventsLost):
                    self._lost += event.count
                    log.warning("webhook events were dropped", count=event.count)
                elif isinstance(event, Transition):
                    await self._deliver(client, breaker, event)
            nursery.cancel_scope.cancel()

    async def _deliver(self, client: httpx.AsyncClient, breaker: CircuitBreaker, event: Transition) -> None:
        """Try until it is taken, refused, or too old."""
        lost, delivery, pause = self._lost, uuid.uuid4().hex, FIRST_PAUSE
        body = self._body(delivery, event)
        with trio.move_on_after(GIVE_UP_SECONDS):
            while True:
                wait = pause
                try:
                    await breaker.execute(self._post, client, delivery, body)
                except CircuitOpenError as error:
                    wait = max(0.1, error.retry_after)
                except WebhookRefused as error:
                    log.warning("webhook refused", breaker=event.name, reason=str(error))
                    return
                except Exception as error:  # noqa: BLE001 - whatever a receiver does, it is tried again
                    log.info("webhook failed", breaker=event.name, reason=_reason(error))
                    pause = min(2 * pause, LONGEST_PAUSE)
                else:
                    self._lost -= lost
                    return
                await trio.sleep(wait)
        self._lost += 1
        log.warning("webhook given up", breaker=event.name, seconds=GIVE_UP_SECONDS)

    def _body(self, delivery: str, event: Transition) -> bytes:
        """What is told. The id is in it, too: the field is not signed, and a replay could bear another."""
        view = transition_view(event)
        view["reason"] = redact(view["reason"])  # an operator's own words leave the house
        return json.dumps({"id": delivery, **self._sender, "transition": view, "lost": self._lost}).encode()

    async def _post(self, client: httpx.AsyncClient, delivery: str, body: bytes) -> None:
        fields = {"Content-Type": "application/json", DELIVERY: delivery}
        if self._secret is not None:
            fields[SIGNATURE] = sign(self._secret, body, int(self._clock()))
        request = client.build_request("POST", self._url, content=body, headers=fields)
        # The answer's body isn't read: it may be endless.
        response = await client.send(request, stream=True)
        await response.aclose()
        status = response.status_code
        if status >= 500 or status in (408, 429):
            raise httpx.HTTPStatusError(f"status {status}", request=request, response=response)
        if status >= 300:
            raise WebhookRefused(f"status {status}")


def _reason(error: Exception) -> str:
    """No more than the kind of an error: its text may quote the URL, which may hold a key."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}"
    return type(error).__name__


async def start_webhook(nursery: trio.Nursery, process: str, settings: ProcessSettings, panel: Panel) -> None:
    """Start the webhook that the settings ask for; nothing where they don't."""
    if settings.webhook_url is not None:
        url = settings.webhook_url.get_secret_value()
        secret = None if settings.webhook_secret is None else settings.webhook_secret.get_secret_value()
        worker = structlog.contextvars.get_contextvars().get("worker")  # as every line of the log says it
        webhook = Webhook(process, url, secret, worker=worker)
        await nursery.start(webhook.run, panel)
