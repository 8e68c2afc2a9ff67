"""Who may use a service: whoever has a good access token."""

from __future__ import annotations

from quart import g, request
from quart_trio import QuartTrio

from protocols.http import Code
from runtime.keys import BadToken, KeySet, KeysUnavailable, MissingToken, require
from runtime.web import ApiError

KEYS_ORIGIN = "auth-service-http"


def require_token(app: QuartTrio, keys: KeySet, prefix: str) -> None:
    """Ask for a bearer token on `prefix` and all paths below it; `g.identity` is whose it is.

    Answers 401, or 503 as long as there was never a key to verify with. That is no fault of this service,
    so its answer names the auth service as the origin.
    """

    async def check() -> None:
        if request.path != prefix and not request.path.startswith(f"{prefix}/"):
            return
        try:
            g.identity = require(keys, request.headers.get("Authorization"))
        except MissingToken:
            raise ApiError(Code.MISSING_TOKEN, "authorization token is required") from None
        except BadToken:
            raise ApiError(Code.INVALID_TOKEN, "invalid or expired token") from None
        except KeysUnavailable:
            raise ApiError(
                Code.SERVICE_UNAVAILABLE,
                "tokens can't be verified yet",
                retry_after=1,
                failure_origin=KEYS_ORIGIN,
            ) from None

    app.before_request(check)
