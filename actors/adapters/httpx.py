"""A breaker for each host that is called through httpx, and the classification of errors and responses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from functools import lru_cache
from ipaddress import IPv6Address
from time import time
from types import TracebackType

import httpx

from ..call.guard import Guard
from ..circuit_breaker import CircuitBreaker
from ..panel.panel import Panel
from ..policy.checks import credible_wait, positive_number
from ..policy.config import CircuitBreakerConfig
from .httpx_body import CountedBody, StreamingCalls, read_whole, with_stream
from .shortage import is_shortage


def is_failure(error: BaseException) -> bool:
    """No connection, a timeout, a broken or malformed answer; and 5xx raised by raise_for_status.

    Not a full pool, a request that can't be sent, or a lack of files, memory or ports for a connection: those
    are faults of this process.
    """
    if isinstance(error, httpx.HTTPStatusError):
        return is_failure_response(error.response)
    own = httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.PoolTimeout
    return isinstance(error, httpx.TransportError) and not isinstance(error, own) and not is_shortage(error)


def is_failure_response(response: httpx.Response) -> bool:
    """5xx. Any other status is an answer."""
    return response.status_code >= 500


def retry_after(outcome: object) -> float | None:
    """For a policy's `retry_after`: the seconds that a 429 or 503 asks to wait; None if it doesn't.

    outcome: a response, or the exception of raise_for_status. Retry-After is whole seconds or an HTTP-date,
    which is measured from the response's own Date, else from now. None if it is neither, if the date has
    passed, and if it asks for more than a year.
    """
    response = outcome.response if isinstance(outcome, httpx.HTTPStatusError) else outcome
    if not isinstance(response, httpx.Response) or response.status_code not in (429, 503):
        return None
    wait = _seconds(response)
    return wait if credible_wait(wait) else None


def _seconds(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    until = _unix_time(value)
    return None if until is None else until - (_unix_time(response.headers.get("Date", "")) or time())


def _unix_time(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def host_policy(host: str) -> CircuitBreakerConfig:
    """The default policy for a host: transport errors, timeouts and 5xx count; Retry-After prolongs waits."""
    return CircuitBreakerConfig(
        name=host, failure=is_failure, failure_result=is_failure_response, retry_after=retry_after
    )


def host_key(request: httpx.Request) -> str:
    """The default `key`: the host of the request's URL, followed by the port if the URL has one.

    For example `example.org`, `example.org:8080`, `[::1]:8080`. Different spellings of one host give one key:
    a name is in lower case, an international name as it is sent (`xn--bcher-kva.example`), and the final dot
    of `example.org.` is left out. An IPv6 address is in brackets and in its shortest form. Its zone stays as
    it is written: `[fe80::1%eth0]`. The default port of the URL's scheme is left out.

    Raises ValueError if the URL has no host.
    """
    url = request.url
    host = url.raw_host.decode("ascii")
    # httpx accepts a colon in a host only within an IPv6 address, and has checked the address.
    host = f"[{_shortest_ipv6(host)}]" if ":" in host else host.removesuffix(".")
    if not host:
        raise ValueError("a breaker is named after the host of the URL, and this URL has none")
    return host if url.port is None else f"{host}:{url.port}"


@lru_cache  # it takes a third of the time of a request through httpx.MockTransport
def _shortest_ipv6(address: str) -> str:
    return str(IPv6Address(address))


ANSWERED_AFTER = 1.0
"""Seconds after the head of a response. If its body still streams then, the host has answered."""


class BreakerTransport(httpx.AsyncBaseTransport):
    """Sends requests through `inner`, those to each host through a breaker of its own.

        async with open_panel() as panel:
            transport = BreakerTransport(httpx.AsyncHTTPTransport(), panel)
            async with httpx.AsyncClient(transport=transport) as client:
                response = await client.get("https://example.org/")

    key: gives the name of the breaker that a request goes through, a str that isn't empty. Any other value
        raises TypeError or ValueError; then nothing is sent and nothing is counted.
    config_for: gives the policy for a key, and is called if the panel has no breaker of that name. The
        policy's name is the key, unless several keys share a breaker. An existing breaker of the panel is
        used as it is.
    succeeds_after: seconds. A response that still streams that long after its head has succeeded then;
        if it breaks off later, that is one failure more.

    A probe passes when its response still streams a second after its head: the breaker closes, and the call
    is counted when it ends.

    A call lasts until the end of its response's body, and so do its permit and its place in the bulkhead: a
    body that breaks off is a failure. A response that `failure_result` calls a failure is returned. Closing
    a response before its end counts as its head was judged. Cancellation counts neither way. Under a
    policy with `call_timeout` or `cancel_in_flight` a body is read whole before its response is returned:
    only what runs inside the call can be ended.

    Each new key adds a breaker to the panel. If strangers choose the hosts, the number of breakers is
    bounded only by the panel's `idle_timeout`, which removes breakers that are not used.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        panel: Panel,
        *,
        key: Callable[[httpx.Request], str] = host_key,
        config_for: Callable[[str], CircuitBreakerConfig] = host_policy,
        succeeds_after: float = 30.0,
    ) -> None:
        positive_number("succeeds_after", succeeds_after)
        self._inner = inner
        self._panel = panel
        self._key = key
        self._config_for = config_for
        self._streams = (
            StreamingCalls(panel, ANSWERED_AFTER, Guard.answered),
            StreamingCalls(panel, succeeds_after, Guard.succeed),
        )

    async def __aenter__(self) -> BreakerTransport:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)

    def breaker(self, target: httpx.URL | httpx.Request) -> CircuitBreaker:
        """The breaker of a request, made if the panel has none of that name.

        target: a URL stands for a GET request of it, without headers or a body.

        Raises TypeError or ValueError if `key` gives no name, and what `Panel.breaker`, `key` and
        `config_for` raise.
        """
        name = self._key(target if isinstance(target, httpx.Request) else httpx.Request("GET", target))
        if not isinstance(name, str):
            raise TypeError(f"key must return a str, got {name!r}")
        # The panel may have removed the breaker since the last request, so no breaker is kept here.
        return self._panel.get(name) or self._panel.breaker(self._policy(name))

    def _policy(self, name: str) -> CircuitBreakerConfig:
        if not name:
            raise ValueError(f"key must return a str that isn't empty, got {name!r}")
        return self._config_for(name)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The response, its body still to be read.

        Raises what `inner` and `breaker` raise, and CircuitOpenError, BulkheadFullError, CallTimeout or
        PanelClosedError, none of which is an httpx.HTTPError. Cancelling counts neither way.
        """
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(self.breaker(request).guard())
            response = await self._inner.handle_async_request(request)
            call.returned(response)
            if call.is_cancellable:
                return await read_whole(response)
            # The body is read by other code, whose requests in the meantime are no part of this call.
            call.let_go()
            ending = stack.pop_all()
        for streaming in self._streams:
            streaming.add(call)
        return with_stream(response, CountedBody(response, call, ending, self._streams))

    async def aclose(self) -> None:
        """Close `inner`. The breakers stay on the panel. Cancellation as with `inner`."""
        await self._inner.aclose()
