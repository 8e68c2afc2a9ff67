"""Which pages of other origins may call the gateway (CORS). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.proxy.headers import Fields, find

ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
EXPOSED = b"Retry-After, X-Request-ID, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset"
MAX_AGE_SECONDS = 600
"""How long a browser may keep the answer to a preflight."""

_OURS = frozenset(
    (b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers")
)
_VARY = (b"vary", b"Origin")


def parse_origins(value: str) -> frozenset[bytes]:
    """The origins in a list separated by commas, such as https://app.example.org. Raises ValueError."""
    origins = [one.strip() for one in value.split(",") if one.strip()]
    for origin in origins:
        scheme, separator, host = origin.partition("://")
        if origin != "*" and (scheme not in ("http", "https") or not separator or not host or "/" in host):
            raise ValueError(f"should be origins such as https://app.example.org, got {origin!r}")
    return frozenset(origin.lower().encode("ascii") for origin in origins)


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """The origins that may read answers; none: the gateway says nothing of CORS, and a service may."""

    origins: frozenset[bytes] = frozenset()

    def allows(self, origin: bytes) -> bool:
        """Whether pages of `origin` may read answers."""
        return b"*" in self.origins or origin.lower() in self.origins

    def is_preflight(self, method: str, fields: Fields) -> bool:
        """Whether a browser asks what it may ask. Such a request carries no token."""
        return (
            bool(self.origins)
            and method == "OPTIONS"
            and bool(find(fields, b"origin"))
            and bool(find(fields, b"access-control-request-method"))
        )

    def preflight_fields(self, fields: Fields) -> Fields:
        """The fields of the answer to a preflight, besides those of every answer."""
        origins = find(fields, b"origin")
        if len(origins) != 1 or not self.allows(origins[0]):
            return []
        asked = find(fields, b"access-control-request-headers")
        return [
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS),
            *[(b"access-control-allow-headers", value) for value in asked[:1]],
        ]

    def response_fields(self, origins: list[bytes], fields: Fields) -> Fields:
        """A response's fields with what a page of the request's origin may read.

        origins: the values of the request's Origin. What the service says of CORS gives way.
        """
        if not self.origins:
            return fields
        kept = [field for field in fields if field[0] not in _OURS]
        kept.append(_VARY)
        if len(origins) == 1 and self.allows(origins[0]):
            kept += [
                (b"access-control-allow-origin", origins[0]),
                (b"access-control-expose-headers", EXPOSED),
            ]
        return kept
