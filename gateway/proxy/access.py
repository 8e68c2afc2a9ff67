"""Access control: access tokens, and rate limits by address and by user."""

from __future__ import annotations

import time

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.strategies import SlidingWindowCounterRateLimiter

from gateway.metrics.request_counts import LIMITS
from gateway.proxy.headers import Fields, find
from gateway.proxy.limits.rate_limit import Counters
from protocols.http import Code
from protocols.identity import Identity
from runtime.auth import BadToken, TokenError, TokenVerifier, require
from runtime.serving import client_network
from runtime.web.errors import ApiError, token_api_error, whole_seconds

ASSETS_PER_PAGE = 10
"""An address may get so many assets of the gateway's pages for each page: a page has up to two dozen."""


class RateLimiter:
    """Limits the requests of each address by the minute, and of each user by the hour.

    The gateway's own pages, and their assets, are counted apart from the rest: a client that has used up its
    requests still sees why. It uses O(1) of memory for each address and user. counters: where requests are
    counted. refusals: requests refused so far, by the limit.
    """

    def __init__(self, per_minute: int, per_hour: int, counters: Counters) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(counters)
        self._by_address = RateLimitItemPerMinute(per_minute)
        self._by_user = RateLimitItemPerHour(per_hour)
        self._pages = RateLimitItemPerMinute(per_minute, namespace="PAGES")
        self._assets = RateLimitItemPerMinute(per_minute * ASSETS_PER_PAGE, namespace="ASSETS")
        self.refusals = dict.fromkeys(LIMITS, 0)

    def count_address(self, address: str) -> None:
        """Count a request from `address`, or its /64. Raises ApiError (RATE_LIMITED)."""
        self._hit(self._by_address, client_network(address), "address")

    def count_user(self, user_id: str) -> None:
        """Count a request of a user. Raises ApiError (RATE_LIMITED)."""
        self._hit(self._by_user, user_id, "user")

    def count_page(self, address: str, *, asset: bool) -> None:
        """Count a request from `address`, or its /64, for a page of the gateway. Raises ApiError."""
        item, limit = (self._assets, "assets") if asset else (self._pages, "pages")
        self._hit(item, client_network(address), limit)

    def _hit(self, item: RateLimitItem, key: str, limit: str) -> None:
        if self._limiter.hit(item, key):
            return
        self.refusals[limit] += 1
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
