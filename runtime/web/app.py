"""What the services' HTTP apps share: the envelope, errors, reading JSON, health, metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import structlog
import trio
from prometheus_client.metrics_core import Metric
from pydantic import BaseModel, ValidationError
from quart import Response, g, request
from quart_schema import HttpSecurityScheme, Info, QuartSchema, hide
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from actors import CallRejected
from actors.adapters.health import breaker_health
from actors.adapters.metrics import negotiated
from protocols.http import FAILURE_ORIGIN, HANDLER_FAILURE, RETRY_AFTER, STATUS, Code
from protocols.http import failure as failure_body
from protocols.http import success as success_body
from runtime.admin.source import BreakerSource
from runtime.auth import KeysUnavailable, MissingToken, TokenError
from runtime.observability import tracing
from runtime.web.header_fields import is_websocket_handshake
from runtime.web.readiness import Readiness
from runtime.web.request_log import DeadlineExceeded, InstrumentedApp, received_body

MAX_BODY_BYTES = 4 * 1024 * 1024
"""A larger request is answered with PAYLOAD_TOO_LARGE."""

_CODES = {404: Code.NOT_FOUND, 408: Code.REQUEST_TIMEOUT, 413: Code.PAYLOAD_TOO_LARGE}
_OWN_FAILURE = {HANDLER_FAILURE: "1"}

log = structlog.get_logger("http")

Model = TypeVar("Model", bound=BaseModel)


class ApiError(Exception):
    """Raised by a handler to be answered with the envelope of a failure.

    status: where it isn't the usual one of the code. retry_after: seconds, rounded up, at least 1.
    failure_origin: the breaker that has counted this failure, or rejected the call; no other may be named.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        failure_origin: str | None = None,
    ) -> None:
        super().__init__(f"{code.value}: {message}")
        self.code = code
        self.message = message
        self.status = STATUS[code] if status is None else status
        self.retry_after = retry_after
        self.failure_origin = failure_origin

    def told(self) -> dict[str, str]:
        """What the log is told: code, message, the breaker, and why that rejected the call, if it did."""
        told = {"error": self.code.value, "reason": self.message}
        if self.failure_origin is not None:
            told["breaker"] = self.failure_origin
        if isinstance(self.__cause__, CallRejected):
            told["rejected"] = self.__cause__.reason.value
        return told

    def headers(self) -> dict[str, str]:
        """The fields that go with the answer."""
        fields: dict[str, str] = {}
        if self.retry_after is not None:
            fields[RETRY_AFTER] = str(max(1, math.ceil(self.retry_after)))
        if self.failure_origin is not None:
            fields[FAILURE_ORIGIN] = self.failure_origin
        return fields


def unavailable(breaker: str, message: str, retry_after: float) -> ApiError:
    """The answer while a breaker of this service doesn't admit calls."""
    return ApiError(
        Code.SERVICE_UNAVAILABLE,
        message,
        retry_after=retry_after,
        failure_origin=breaker,
    )


def reply(message: str, data: Any, status: int = 200, **more: Any) -> tuple[dict[str, Any], int]:
    """What a handler returns for a success; `more` are keys beside `data`."""
    return success_body(message, data, **more), status


async def read_json(model: type[Model], *, missing: bytes = b"") -> Model:
    """The request's body as `model`. Raises ApiError: INVALID_REQUEST if not JSON, else VALIDATION_ERROR.

    The Content-Type isn't asked about: a body that is JSON is JSON. missing: what an empty one stands for.
    The server's limits say how long a client may take, and it answers 408 REQUEST_TIMEOUT in our place; until
    then the caller's deadline stands still.
    """
    body = await received_body() or missing
    value = parse_json(body)
    if not isinstance(value, dict):
        raise ApiError(Code.INVALID_REQUEST, "the body must be a JSON object")
    made = validated(model, value)
    if b"\\u" in body and not _is_text(value):
        raise ApiError(Code.VALIDATION_ERROR, "text must be valid Unicode")
    return made


def _is_text(value: Any) -> bool:
    """Whether all text in `value` can be stored: half of a surrogate pair is JSON, but no text."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def parse_json(body: bytes) -> Any:
    """Strict JSON: no NaN, no bad UTF-8, no endless nesting or digits. Raises ApiError INVALID_REQUEST."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ApiError(Code.INVALID_REQUEST, "the body must be JSON") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def validated(model: type[Model], value: Mapping[str, Any]) -> Model:
    """`value` as `model`. Raises ApiError VALIDATION_ERROR naming the fields; the values aren't repeated."""
    try:
        return model.model_validate(value)
    except (ValidationError, RecursionError) as error:
        raise ApiError(Code.VALIDATION_ERROR, _explain(error)) from None


def _explain(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    lines = (f"{'.'.join(map(str, p['loc']))}: {p['msg'].removeprefix('Value error, ')}" for p in problems)
    return "; ".join(lines)[:1000].encode("utf-8", "replace").decode("utf-8")


def service_app(
    name: str,
    panel: BreakerSource,
    *,
    version: str = "1",
    wrong_method: Code = Code.METHOD_NOT_ALLOWED,
    max_body: int = MAX_BODY_BYTES,
    more_metrics: Callable[[], Iterable[Metric]] = tuple,
) -> QuartTrio:
    """An app with everything that the services have in common; `extensions["readiness"]` is its Readiness.

    wrong_method: the code for a method that the path doesn't take. more_metrics: besides those of breakers.
    """
    app = InstrumentedApp(name)
    app.config.update(MAX_CONTENT_LENGTH=max_body, PROVIDE_AUTOMATIC_OPTIONS=False)
    app.url_map.merge_slashes = False
    QuartSchema(
        app,
        info=Info(title=name, version=version),
        openapi_path="/openapi.json",
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        security_schemes={"bearer": HttpSecurityScheme(scheme="bearer", bearer_format="JWT")},
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.before_request(_refuse_websockets)
    _answer_errors(app, wrong_method)
    tracing.trace_requests(app)
    readiness = app.extensions["readiness"] = Readiness()
    _add_health(app, panel, readiness)
    _add_metrics(app, panel, more_metrics)
    return app


async def _refuse_websockets() -> Any:
    if is_websocket_handshake(request.scope["headers"]):  # type: ignore[arg-type]
        body = failure_body(Code.INVALID_REQUEST, "WebSockets aren't served here")
        return body, 426, {"Upgrade": "HTTP/1.1"}
    return None


def _answer_errors(app: QuartTrio, wrong_method: Code) -> None:
    async def api_error(error: ApiError) -> Any:
        g.told = error.told()
        return failure_body(error.code, error.message), error.status, error.headers()

    async def out_of_time(_: DeadlineExceeded) -> Any:
        return await api_error(ApiError(Code.GATEWAY_TIMEOUT, "the request ran out of its caller's time"))

    async def token_error(error: TokenError) -> Any:
        if isinstance(error, KeysUnavailable):
            return await api_error(ApiError(Code.SERVICE_UNAVAILABLE, str(error), retry_after=1))
        code = Code.MISSING_TOKEN if isinstance(error, MissingToken) else Code.INVALID_TOKEN
        g.told = {"error": code.value, "reason": str(error)}
        return failure_body(code, str(error)), STATUS[code], {"WWW-Authenticate": "Bearer"}

    async def http_error(error: HTTPException) -> Any:
        status = error.code or 500
        code = _CODES.get(status) if status != 405 else wrong_method
        if code is None:
            code = Code.INVALID_REQUEST if status < 500 else Code.INTERNAL_ERROR
        if code in (Code.NOT_FOUND, wrong_method):
            status = STATUS[code]
        g.told = {"error": code.value}
        fields = {k: v for k, v in error.get_headers() if k == "Allow"}
        if status == 500:
            fields |= _OWN_FAILURE
        return failure_body(code, error.name), status, fields

    async def unexpected(error: Exception) -> Any:
        g.told = {"error": Code.INTERNAL_ERROR.value}
        log.error("a handler failed", exc_info=error)
        return failure_body(Code.INTERNAL_ERROR, "internal error"), 500, dict(_OWN_FAILURE)

    app.register_error_handler(ApiError, api_error)
    app.register_error_handler(DeadlineExceeded, out_of_time)
    app.register_error_handler(TokenError, token_error)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, unexpected)


def _add_health(app: QuartTrio, panel: BreakerSource, readiness: Readiness) -> None:
    @app.get("/health")
    @hide
    async def health() -> Any:
        parts = {name: breaker_health(snapshot) for name, snapshot in (await panel.snapshots()).items()}
        if any(part["status"] == "unhealthy" for part in parts.values()):
            body = failure_body(Code.PARTIAL_OUTAGE, "Some services are unhealthy", data=parts)
            return body, STATUS[Code.PARTIAL_OUTAGE]
        return reply("All services are healthy", parts)

    @app.get("/livez")
    @hide
    async def livez() -> Any:
        return reply("alive", None)

    @app.get("/readyz")
    @hide
    async def readyz() -> Any:
        if readiness.stopping:
            raise ApiError(Code.SERVICE_UNAVAILABLE, "the process stops soon", retry_after=1)
        with trio.move_on_after(1):
            await panel.snapshots()
            return reply("ready", None)
        raise ApiError(Code.SERVICE_UNAVAILABLE, "the breakers don't answer", retry_after=1)


def _add_metrics(app: QuartTrio, panel: BreakerSource, more: Callable[[], Iterable[Metric]]) -> None:
    @app.get("/metrics")
    @hide
    async def metrics() -> Response:
        snapshots = (await panel.snapshots()).values()
        body, content_type = negotiated(snapshots, request.headers.get("Accept"), more())
        return Response(body, content_type=content_type, headers={"Vary": "Accept"})
