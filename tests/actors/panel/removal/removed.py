"""The errors of a removed breaker, ways to call it, and ways to end it at the worst moment."""

from __future__ import annotations

from typing import Any

import pytest

from actors.commands import Remove
from actors.mailbox import Envelope, Mailbox
from tests.actors.styles import STYLES, named

in_each_style_with_the_breaker = pytest.mark.parametrize(
    "call", [style for style in STYLES if style is not named], ids=lambda style: style.__name__
)
"""The styles that call a breaker which the test holds; `named` would make a new one."""

REMOVED = "circuit breaker 'it' was removed from its panel"


def end_after_each(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the breaker at once after each message of this kind."""
    put = Mailbox._put

    def put_both(mailbox: Mailbox[Any], envelope: Envelope[Any]) -> None:
        put(mailbox, envelope)
        if isinstance(envelope.message, kind):
            put(mailbox, Envelope(Remove()))

    monkeypatch.setattr(Mailbox, "_put", put_both)
