"""Access control: access tokens, and rate limits by address and by user."""

from __future__ import annotations

import time

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.strategies import SlidingWindowCounterRateLimiter

from gateway.proxy.headers import Fields, find
from gateway.proxy.rate_limit import Counters
from protocols.http import Code
from protocols.identity import Identity
from runtime.auth import BadToken, TokenError, TokenVerifier, require
from runtime.serving import client_network
from runtime.web.errors import ApiError, token_api_error, whole_seconds


class RateLimiter:
    """Limits the requests of each address by the minute, and of each user by the hour.

    It uses O(1) of memory for each address and user. counters: where requests are counted.
    """

    def __init__(self, per_minute: int, per_hour: int, counters: Counters) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(counters)
        self._by_address = RateLimitItemPerMinute(per_minute)
        self._by_user = RateLimitItemPerHour(per_hour)

    def count_address(self, address: str) -> None:
        """Count a request from `address`, or its /64. Raises ApiError (RATE_LIMITED)."""
        self._hit(self._by_address, client_network(address))

    def count_user(self, user_id: str) -> None:
        """Count a request of a user. Raises ApiError (RATE_LIMITED)."""
        self._hit(self._by_user, user_id)

    def _hit(self, item: RateLimitItem, key: str) -> None:
        if self._limiter.hit(item, key):
            return
        wait = self._limiter.get_window_stats(item, key).reset_time - time.time()
        fields = {
            "RateLimit-Limit": str(item.amount),
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": str(whole_seconds(wait)),
            "RateLimit-Policy": f"{item.amount};w={item.get_expiry()}",
        }
        raise ApiError(Code.RATE_LIMITED, "Too many requests", retry_after=wait, fields=fields)


def authenticate(keys: TokenVerifier, fields: Fields) -> Identity:
    """Verify the request's bearer token and return its identity.

    Raises ApiError (MISSING_TOKEN, INVALID_TOKEN, SERVICE_UNAVAILABLE).
    """
    given = find(fields, b"authorization")
    try:
        if len(given) > 1:
            raise BadToken("several Authorization fields")
        return require(keys, given[0].decode("latin-1") if given else None)
    except TokenError as error:
        raise token_api_error(error) from error
