"""Who may use a service: whoever has a good access token."""

from __future__ import annotations

from quart import g, request
from quart_trio import QuartTrio

from runtime.auth import TokenError, TokenVerifier, bearer
from runtime.web.errors import token_api_error

FIRST_KEYS_SECONDS = 1.0
"""How long a request waits for the first key; while there is none, one is asked for more often than that."""


def require_token(app: QuartTrio, keys: TokenVerifier, prefix: str) -> None:
    """Ask for a bearer token on `prefix` and all paths below it; `g.identity` is whose it is.

    Answers 401, or 503 as long as there was never a key to verify with. That answer names no failure origin,
    for no breaker has counted that the keys could not be fetched: a service without keys can do nothing, and
    the gateway's breaker for it is the nearest. A request waits for the first keys before it is answered so:
    an auth service that has just come up must not cost this one its breaker.
    """

    async def check() -> None:
        if request.path != prefix and not request.path.startswith(f"{prefix}/"):
            return
        try:
            token = bearer(request.headers.get("Authorization"))
            if not keys:
                await keys.wait_for_keys(FIRST_KEYS_SECONDS)
            g.identity = keys.verify(token)
        except TokenError as error:
            raise token_api_error(error) from error

    app.before_request(check)
