"""Which pages and routes each of the gateway's ports serves. Pure."""

from __future__ import annotations

from enum import Enum, auto

from gateway.proxy.target import LocalTarget, UpstreamTarget

ON_EVERY_PORT = frozenset((b"/livez", b"/readyz"))
"""The pages that load balancers and supervisors poll. They have no rate limit either."""


class PortRole(Enum):
    """What a port is for. ALL: there is no OPERATIONS_PORT."""

    ALL = auto()
    PUBLIC = auto()
    OPERATIONS = auto()

    def serves(self, target: LocalTarget | UpstreamTarget) -> bool:
        """Whether a request for `target` is served on this port; otherwise it is answered 404."""
        if self is PortRole.ALL:
            return True
        if isinstance(target, UpstreamTarget):
            return self is PortRole.PUBLIC
        return self is PortRole.OPERATIONS or target.path in ON_EVERY_PORT
