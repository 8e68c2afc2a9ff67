"""The panel of a process, with what its metrics and transitions have besides the breakers' own data."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from structlog.contextvars import get_contextvars

from actors import DURATION_BUCKETS, Panel, open_panel
from runtime.observability.tracing import exemplar_labels


def open_observed_panel() -> AbstractAsyncContextManager[Panel]:
    """Open a panel that measures durations, with traces as exemplars if tracing is on.

    A transition has the context of the caller's log lines, such as its request id.
    """
    return open_panel(
        durations=DURATION_BUCKETS, exemplar=exemplar_labels(), transition_context=get_contextvars
    )
