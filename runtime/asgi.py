"""The types of ASGI: a scope, the messages, and the two callables that receive and send them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
"""Describes one connection or request."""
Message = dict[str, Any]
"""One event, from the server or from the app; its `type` names it."""
Receive = Callable[[], Awaitable[Message]]
"""Waits for the next message from the server."""
Send = Callable[[Message], Awaitable[None]]
"""Passes a message to the server; waits while the client is slow."""
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI 3 application."""
