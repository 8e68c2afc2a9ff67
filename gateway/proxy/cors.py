"""Cross-origin resource sharing (CORS): which pages of other origins may call the gateway. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.proxy.headers import Fields, find

ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
EXPOSED = b"Retry-After, X-Request-ID, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
MAX_AGE_SECONDS = 600
"""Seconds for which a browser may cache the response to a preflight."""

_CORS_FIELDS = frozenset(
    (b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers")
)
_VARY = (b"vary", b"Origin")


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """The origins whose pages may read responses.

    If there are none, the gateway leaves CORS to the services.
    """

    origins: frozenset[bytes] = frozenset()

    def allows(self, origin: bytes) -> bool:
        """Whether pages of `origin` may read responses."""
        return b"*" in self.origins or origin.lower() in self.origins

    def is_preflight(self, method: str, fields: Fields) -> bool:
        """Whether the request is a preflight. A browser sends those without a token."""
        return (
            bool(self.origins)
            and method == "OPTIONS"
            and bool(find(fields, b"origin"))
            and bool(find(fields, b"access-control-request-method"))
        )

    def preflight_fields(self, fields: Fields) -> Fields:
        """The fields of the response to a preflight, without those that every response has."""
        origins = find(fields, b"origin")
        if len(origins) != 1 or not self.allows(origins[0]):
            return []
        requested = find(fields, b"access-control-request-headers")
        return [
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS),
            *[(b"access-control-allow-headers", value) for value in requested[:1]],
        ]

    def response_fields(self, origins: list[bytes], fields: Fields) -> Fields:
        """Add the CORS fields for the request's origin to a response's fields.

        They replace the service's own CORS fields. origins: the values of the request's Origin field.
        """
        if not self.origins:
            return fields
        kept = [field for field in fields if field[0] not in _CORS_FIELDS]
        kept.append(_VARY)
        if len(origins) == 1 and self.allows(origins[0]):
            kept += [
                (b"access-control-allow-origin", origins[0]),
                (b"access-control-expose-headers", EXPOSED),
            ]
        return kept
