"""Talking to a service's app as a client does: a method, a path, perhaps a body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quart_trio import QuartTrio


@dataclass(frozen=True)
class ApiResponse:
    """A response. `body` is the parsed envelope."""

    status: int
    body: dict[str, Any]
    headers: Any

    @property
    def error(self) -> str:
        """The envelope's code."""
        return str(self.body["error"])

    @property
    def data(self) -> Any:
        """The envelope's data."""
        return self.body["data"]


class Caller:
    """Sends requests to `app` with `headers` on each; checks that every answer is an envelope."""

    def __init__(self, app: QuartTrio, headers: dict[str, str]) -> None:
        self._client = app.test_client()
        self._headers = headers

    async def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> ApiResponse:
        if isinstance(body, bytes):
            more["data"] = body
        elif body is not None:
            more["json"] = body
        headers = {**self._headers, **more.pop("headers", {})}
        response = await self._client.open(path, method=method, headers=headers, **more)
        assert response.content_type.startswith("application/json"), response.content_type
        parsed = await response.get_json()
        assert ("error" in parsed) == (response.status_code >= 400), parsed
        return ApiResponse(response.status_code, parsed, response.headers)
