"""gRPC calls as spans, on either side. Does nothing, and costs nothing, where tracing is off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from grpclib.client import Channel
from grpclib.const import Handler, Status
from grpclib.events import SendRequest, listen
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from actors.adapters.grpc import FAILURES
from runtime import telemetry


def trace_calls(channel: Channel) -> None:
    """Tell the other side of the channel which span a call belongs to."""
    if not telemetry.is_on():
        return
    from opentelemetry import trace

    from runtime.spans import carry

    async def tell(event: SendRequest) -> None:
        event.metadata.update(carry())
        trace.get_current_span().set_attributes(_rpc(event.method_name))

    listen(channel, SendRequest, tell)


def traced_service(service: Any) -> Any:
    """The service, with each call to it as a span."""
    return TracedService(service) if telemetry.is_on() else service


class TracedService:
    """A grpclib service around another."""

    def __init__(self, service: Any) -> None:
        self._service = service

    def __mapping__(self) -> dict[str, Handler]:
        """What grpclib asks a service for."""
        handlers: dict[str, Handler] = self._service.__mapping__()
        return {
            path: handler._replace(func=_traced(path, handler.func)) for path, handler in handlers.items()
        }


def _rpc(path: str) -> dict[str, str]:
    service, _, method = path.strip("/").partition("/")
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}


def _traced(
    path: str, func: Callable[[Stream[Any, Any]], Awaitable[None]]
) -> Callable[[Stream[Any, Any]], Awaitable[None]]:
    from opentelemetry.trace import SpanKind, StatusCode

    from runtime.spans import bound_trace, carried

    async def traced(stream: Stream[Any, Any]) -> None:
        fields = [(str(key), str(value)) for key, value in (stream.metadata or {}).items()]
        with (
            telemetry.tracer().start_as_current_span(
                path.strip("/"),
                context=carried(fields),
                kind=SpanKind.SERVER,
                attributes=_rpc(path),
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            bound_trace(span),
        ):
            status = Status.OK
            try:
                await func(stream)
            except GRPCError as error:
                status = error.status
                raise
            except Exception:
                status = Status.UNKNOWN
                raise
            except BaseException:
                status = Status.CANCELLED  # whoever asked has left, or waits no longer
                raise
            finally:
                span.set_attribute("rpc.grpc.status_code", status.value)
                if status in FAILURES:
                    span.set_status(StatusCode.ERROR, status.name)

    return traced
