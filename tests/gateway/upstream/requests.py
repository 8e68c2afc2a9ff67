"""Requests of one test, and their responses read whole."""

import httpx


def request(method="GET", path="/x", body=None, **extensions):
    if body is None:
        return httpx.Request(method, f"http://up{path}", extensions=extensions)
    return httpx.Request(method, f"http://up{path}", content=body, extensions=extensions)


async def fetch(transport, one):
    response = await transport.handle_async_request(one)
    return response.status_code, await response.aread()
