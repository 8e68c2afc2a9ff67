"""A gateway as many Python projects write it: FastAPI, an httpx client, a purgatory breaker.

`python -m benchmarks.gateway` runs it under uvicorn with uvloop and httptools. Environment: UPSTREAM is the
service's URL, CONNECTIONS the largest number of connections to it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

UPSTREAM = os.environ["UPSTREAM"]
CONNECTIONS = int(os.environ["CONNECTIONS"])
HOP_BY_HOP = {"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"}

breakers = AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=60)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one client for all requests, as httpx recommends."""
    kept = CONNECTIONS if CONNECTIONS > 100 else 20
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=kept)
    async with httpx.AsyncClient(base_url=UPSTREAM, timeout=30, limits=limits) as client:
        app.state.client = client
        app.state.breaker = await breakers.get_breaker("auth-service-http")
        yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/auth/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
async def forward(path: str, request: Request) -> Response:
    """Forward a request, and return its response."""
    try:
        async with request.app.state.breaker:
            response = await request.app.state.client.request(
                request.method,
                f"/{path}",
                params=request.query_params,
                headers=[(name, value) for name, value in request.headers.items() if name != "host"],
                content=await request.body(),
            )
    except OpenedState:
        return Response(status_code=503)
    except httpx.TimeoutException:
        return Response(status_code=504)
    except httpx.TransportError:
        return Response(status_code=502)
    headers = {name: value for name, value in response.headers.items() if name not in HOP_BY_HOP}
    return Response(response.content, response.status_code, headers)
