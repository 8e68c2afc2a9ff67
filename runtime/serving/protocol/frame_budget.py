"""The limit on HTTP/2 frames that cost the client nothing: resets, pings, settings, empty data."""

from __future__ import annotations

import trio

FREE_FRAMES = 100
"""The burst of such frames."""
FREE_FRAMES_PER_SECOND = 10.0
"""The rate of such frames after the burst. A faster client loses its connection."""


class FrameBudget:
    """The free frames that one connection may still send. It grows with time, up to FREE_FRAMES."""

    def __init__(self) -> None:
        self._frames = float(FREE_FRAMES)
        self._counted_at = trio.current_time()

    @property
    def is_overspent(self) -> bool:
        """Whether the client has sent more free frames than it may."""
        return self._frames < 0

    def spend(self) -> None:
        """Count a free frame."""
        now = trio.current_time()
        earned = (now - self._counted_at) * FREE_FRAMES_PER_SECOND
        self._frames = min(FREE_FRAMES, self._frames + earned) - 1
        self._counted_at = now
