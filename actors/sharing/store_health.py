"""Whether the store of shared breakers answers."""

from __future__ import annotations

import logging

logger = logging.getLogger("trio_breakers")

LOST_SECONDS = 3.0
"""Seconds without a reply after which the store counts as gone, and breakers are local only."""


class StoreHealth:
    """Follows the replies and failures of one store, and logs when it goes and comes back.

    last_reply: None: there was none yet. dropped: what was too old when the store came back.
    """

    def __init__(self) -> None:
        self.last_reply: float | None = None
        self.dropped = 0
        self._is_said = False
        # When the first attempt has failed: a store that is being connected isn't gone.
        self._missed_since: float | None = None

    def is_connected(self, now: float) -> bool:
        """Whether the store has replied within LOST_SECONDS."""
        return self.last_reply is not None and now - self.last_reply <= LOST_SECONDS

    def note_reply(self, now: float) -> None:
        """The store has replied."""
        self.last_reply = now
        if self._is_said:
            self._is_said = False
            logger.warning("the shared store answers again: breakers are shared")

    def note_failure(self, now: float, reason: str) -> None:
        """The store can't be reached, or doesn't answer."""
        self._missed_since = now if self._missed_since is None else self._missed_since
        since = self._missed_since if self.last_reply is None else self.last_reply
        if not self._is_said and now - since > LOST_SECONDS:
            self._is_said = True
            logger.warning("the shared store is gone (%s): each breaker protects this process alone", reason)
