"""The gateway's own requests to the services, for JSON documents. They bypass the breakers.

They are most wanted while a breaker is open, and must not change its state.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import trio

from gateway.upstream.upstream import Upstream

LIMIT = 4 * 1024 * 1024
"""Bytes of a response's body; a longer one is refused."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JsonReply:
    """A service's response. document: the body's JSON; None if the service gave none.

    status: the HTTP status, if a document came. timed_out: whether the timeout has expired.
    """

    document: Any = None
    status: int | None = None
    timed_out: bool = False


async def fetch_json(
    upstream: Upstream,
    path: str,
    *,
    timeout: float,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> JsonReply:
    """Send a request to a service and read the JSON of its response, whatever the status.

    path: with its query. timeout: seconds, for all of it. Never raises; cancelling closes the connection.
    """
    request = httpx.Request(
        method,
        upstream.base_url + path,
        headers={"accept": "application/json", **(headers or {})},
        content=content,
    )
    with trio.move_on_after(timeout) as scope:
        try:
            response = await upstream.transport.handle_async_request(request)
            try:
                document = json.loads(await _body(response))
            finally:
                await response.aclose()
        except (httpx.RequestError, ValueError, RecursionError):
            return JsonReply()
        return JsonReply(document, response.status_code)
    return JsonReply(timed_out=scope.cancelled_caught)


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > LIMIT:
            raise ValueError("too long")
    return bytes(body)


async def for_each_service(
    upstreams: Iterable[Upstream], fetch: Callable[[Upstream], Awaitable[T]]
) -> dict[str, T]:
    """Await `fetch` for all services concurrently; return the results by the service's name.

    The results are in the order of `upstreams`. Raises what `fetch` raises, in a group.
    """
    upstreams = list(upstreams)
    results: dict[str, T] = {}

    async def fetch_one(upstream: Upstream) -> None:
        results[upstream.service.name] = await fetch(upstream)

    async with trio.open_nursery() as nursery:
        for upstream in upstreams:
            nursery.start_soon(fetch_one, upstream)
    return {upstream.service.name: results[upstream.service.name] for upstream in upstreams}
