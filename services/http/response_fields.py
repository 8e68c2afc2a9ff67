"""Response fields that protect what a response carries."""

from __future__ import annotations

from quart import Response, request
from quart_trio import QuartTrio


def protect_responses(app: QuartTrio, *private: str) -> None:
    """Keep browsers from guessing content types, and caches from storing responses with people and tokens.

    private: paths whose responses, and those of all paths below, no cache may store.
    """

    async def add_fields(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        if any(request.path == path or request.path.startswith(f"{path}/") for path in private):
            response.headers["Cache-Control"] = "no-store"
        return response

    app.after_request(add_fields)
