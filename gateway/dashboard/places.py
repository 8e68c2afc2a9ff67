"""The places for open dashboards: shares of the clients, and some that are kept for admins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.proxy.headers import find
from gateway.proxy.trusted_proxies import TrustedProxies
from protocols.http import Code
from runtime.admin.api import AdminAuthenticator
from runtime.asgi import Scope
from runtime.auth import TokenError
from runtime.serving import client_network
from runtime.web.errors import ApiError, token_api_error

PLACES = 100
"""The most open streams."""
PLACES_OF_A_CLIENT = 20
"""The most streams of one client: an IPv4 address, or an IPv6 /64."""
KEPT_FOR_ADMINS = 10
"""The last places are for requests with an admin's token."""
RETRY_SECONDS = 5.0


class StreamPlaces:
    """Gives each stream a place. trusted_proxies: find out the client of a request."""

    def __init__(self, trusted_proxies: TrustedProxies, authenticator: AdminAuthenticator) -> None:
        self._trusted_proxies = trusted_proxies
        self._authenticator = authenticator
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, scope: Scope) -> Iterator[None]:
        """A place for one stream until the block ends.

        Raises ApiError if there is none. A token is needed, and checked, only if there is none without it.
        """
        client = self._trusted_proxies.client_of(scope)
        network = client_network(client.address)
        total = self._taken.total()
        free_for_all = total < PLACES - KEPT_FOR_ADMINS and self._taken[network] < PLACES_OF_A_CLIENT
        if not free_for_all and (total >= PLACES or not self._is_admin(scope, client.address)):
            message = "no more viewers now"
            raise ApiError(Code.SERVICE_UNAVAILABLE, message, retry_after=RETRY_SECONDS)
        self._taken[network] += 1
        try:
            yield
        finally:
            self._taken[network] -= 1
            if not self._taken[network]:
                del self._taken[network]

    def _is_admin(self, scope: Scope, client: str) -> bool:
        """Whether the request has an admin's token. Raises ApiError if it has another one.

        client: the address of its sender.
        """
        given = find(scope["headers"], b"authorization")
        if len(given) != 1:
            return False
        try:
            self._authenticator.admit(given[0].decode("latin-1"), client)
        except TokenError as error:
            raise token_api_error(error) from error
        return True
