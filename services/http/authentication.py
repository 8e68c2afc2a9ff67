"""Bearer tokens of requests to a service."""

from __future__ import annotations

from quart import g, request
from quart_trio import QuartTrio

from runtime.auth import TokenVerifier, bearer
from runtime.web.authorization import authorization

FIRST_KEYS_SECONDS = 1.0
"""Maximum seconds that a request waits for the first key. The verifier retries at shorter intervals."""


def require_token(app: QuartTrio, keys: TokenVerifier, prefix: str) -> None:
    """Require a bearer token on `prefix` and all paths below it, and set `g.identity` to its Identity.

    A request without a good token is refused with a TokenError, which `service_app` answers with 401, or with
    503 if there has never been a key to verify tokens with. That 503 has no failure origin: no breaker of the
    service has counted the missing keys, so the gateway's breaker for the service must. To spare that breaker
    an auth service that starts at the same moment, a request waits for the first key for up to
    FIRST_KEYS_SECONDS.
    """

    async def authenticate() -> None:
        if request.path != prefix and not request.path.startswith(f"{prefix}/"):
            return
        token = bearer(authorization())
        if not keys:
            await keys.wait_for_keys(FIRST_KEYS_SECONDS)
        g.identity = keys.verify(token)

    app.before_request(authenticate)
