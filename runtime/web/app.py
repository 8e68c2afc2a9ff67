"""The Quart app that every process serves: errors, health, metrics, tracing and request logging built in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.metrics_core import Metric
from quart import request
from quart_schema import HttpSecurityScheme, Info, QuartSchema
from quart_trio import QuartTrio

from protocols.http import Code
from protocols.http import failure as failure_body
from protocols.http import success as success_body
from runtime.breaker_source import BreakerSource
from runtime.header_fields import is_websocket_handshake
from runtime.observability import tracing
from runtime.web.errors import add_error_handlers
from runtime.web.health import add_health, add_metrics
from runtime.web.openapi import CompleteDocument
from runtime.web.readiness import Readiness
from runtime.web.request_log import InstrumentedApp
from runtime.web.security_fields import add_security_fields

MAX_BODY_BYTES = 4 * 1024 * 1024
"""A larger request body is answered with PAYLOAD_TOO_LARGE."""


def service_app(
    name: str,
    panel: BreakerSource,
    *,
    version: str = "1",
    wrong_method: Code = Code.METHOD_NOT_ALLOWED,
    max_body: int = MAX_BODY_BYTES,
    more_metrics: Callable[[], Iterable[Metric]] = tuple,
) -> QuartTrio:
    """Make an app with everything that the processes share; `extensions["readiness"]` is its Readiness.

    panel: the breakers that health and metrics report. wrong_method: the error code for a method that the
    path doesn't support. max_body: bytes. more_metrics: called at each scrape; its metrics are added to those
    of the breakers.

    A process that shares its breakers sets `extensions["sharing"]` to a SharingView.
    """
    app = InstrumentedApp(name)
    app.config.update(MAX_CONTENT_LENGTH=max_body, PROVIDE_AUTOMATIC_OPTIONS=False)
    app.url_map.merge_slashes = False
    QuartSchema(
        app,
        info=Info(title=name, version=version),
        openapi_path="/openapi.json",
        openapi_provider_class=CompleteDocument,
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        security_schemes={"bearer": HttpSecurityScheme(scheme="bearer", bearer_format="JWT")},
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.before_request(_refuse_websockets)
    app.after_request(add_security_fields)
    add_error_handlers(app, wrong_method)
    tracing.trace_requests(app)
    readiness = app.extensions["readiness"] = Readiness()
    add_health(app, panel, readiness)
    add_metrics(app, panel, more_metrics)
    return app


def reply(message: str, data: Any, status: int = 200, **more: Any) -> tuple[dict[str, Any], int]:
    """Return a handler's successful response: body and status. more: further keys beside `data`."""
    return success_body(message, data, **more), status


async def _refuse_websockets() -> Any:
    if is_websocket_handshake(request.scope["headers"]):  # type: ignore[arg-type]
        body = failure_body(Code.INVALID_REQUEST, "WebSockets aren't served here")
        return body, 426, {"Upgrade": "HTTP/1.1"}
    return None
