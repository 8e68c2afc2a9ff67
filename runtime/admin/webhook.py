"""Delivers transitions to a URL: signed, retried, and guarded by a breaker of its own.

The queue is bounded: the oldest events are dropped first, and the next delivery reports how many. Nothing
waits for a delivery.
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
"""The number of events that may wait for an unavailable receiver."""
GIVE_UP_SECONDS = 600.0
"""The time after which the delivery of one event is given up."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
SIGNATURE = "X-Webhook-Signature"
DELIVERY = "X-Webhook-Id"

# A hanging receiver costs five seconds an attempt, and nothing while the breaker is open.
POLICY = CircuitBreakerConfig(
    name=BREAKER, max_failures=3, reset_timeout=15.0, call_timeout=5.0, failure=is_failure
)

log = structlog.get_logger("webhook")


class WebhookRefused(Exception):
    """The receiver rejected the event with a status that a retry won't change."""


def sign(secret: str, body: bytes, now: int) -> str:
    """Return `t=<now>,v1=<hex>`: the HMAC-SHA256 of "<now>." and the body.

    now: Unix seconds. A receiver should refuse old times.
    """
    digest = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"


class Webhook:
    """Delivers the transitions of a panel to `url`, in order, one at a time.

    secret: signs deliveries; None: they aren't signed. worker: the number of this process among those with
    the same name. transport: None: httpx's own. clock: returns Unix seconds.
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
        """Deliver until the panel closes. Cancelling drops the waiting events."""
        async with (
            panel.events(buffer=WAITING) as events,
            # Its own panel keeps this breaker out of the process's health and metrics.
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
        """Try until the event is accepted, rejected or too old."""
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
                except Exception as error:  # noqa: BLE001 - any failure of a receiver is retried
                    log.info("webhook failed", breaker=event.name, reason=_reason(error))
                    pause = min(2 * pause, LONGEST_PAUSE)
                else:
                    self._lost -= lost
                    return
                await trio.sleep(wait)
        self._lost += 1
        log.warning("webhook given up", breaker=event.name, seconds=GIVE_UP_SECONDS)

    def _body(self, delivery: str, event: Transition) -> bytes:
        """Return the signed content. It contains the id too: the header field with it isn't signed."""
        view = transition_view(event)
        view["reason"] = redact(view["reason"])  # it may be an operator's text
        return json.dumps({"id": delivery, **self._sender, "transition": view, "lost": self._lost}).encode()

    async def _post(self, client: httpx.AsyncClient, delivery: str, body: bytes) -> None:
        fields = {"Content-Type": "application/json", DELIVERY: delivery}
        if self._secret is not None:
            fields[SIGNATURE] = sign(self._secret, body, int(self._clock()))
        request = client.build_request("POST", self._url, content=body, headers=fields)
        # The response's body isn't read: it may be endless.
        response = await client.send(request, stream=True)
        await response.aclose()
        status = response.status_code
        if status >= 500 or status in (408, 429):
            raise httpx.HTTPStatusError(f"status {status}", request=request, response=response)
        if status >= 300:
            raise WebhookRefused(f"status {status}")


def _reason(error: Exception) -> str:
    """Return only the type of an error: its text may contain the URL, and that a key."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}"
    return type(error).__name__


async def start_webhook(nursery: trio.Nursery, process: str, settings: ProcessSettings, panel: Panel) -> None:
    """Start the webhook in `nursery` if the settings have a webhook_url."""
    if settings.webhook_url is not None:
        url = str(settings.webhook_url.get_secret_value())
        secret = None if settings.webhook_secret is None else settings.webhook_secret.get_secret_value()
        worker = structlog.contextvars.get_contextvars().get("worker")  # the number in every log line
        webhook = Webhook(process, url, secret, worker=worker)
        await nursery.start(webhook.run, panel)
