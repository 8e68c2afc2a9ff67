"""Checks the internals of packages that runtime/serving uses. A changed one fails with its name."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import httptools
import hyperframe.frame
import pytest
import trio
from hypercorn import events as io_events
from hypercorn.config import Config
from hypercorn.protocol import events
from hypercorn.protocol.h2 import BufferCompleteError, H2Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import filter_pseudo_headers, wrap_app


def moved(package: str, what: str, where: str) -> str:
    return f"{package} has moved {what}; runtime/serving/{where} relies on it"


ARGUMENTS = [
    (TCPServer, ["app", "config", "context", "state", "stream"], "connection.py"),
    (
        H2Protocol,
        [*("app", "config", "context", "task_group", "connection_state", "ssl", "client", "server"), "send"],
        "protocol/http2.py",
    ),
    (
        HTTPStream,
        [*("app", "config", "context", "task_group", "ssl", "client", "server", "send"), "stream_id"],
        "protocol/stream.py",
    ),
    (WorkerContext, ["max_requests"], "admission.py"),
    (Lifespan, ["app", "config", "state"], "server.py"),
]


@pytest.mark.parametrize(("one", "names", "where"), ARGUMENTS)
def test_hypercorns_functions_have_the_expected_arguments(one: Any, names: list[str], where: str) -> None:
    found = list(inspect.signature(one).parameters)
    assert found == names, moved("Hypercorn", f"the arguments of {one.__name__}", where)


METHODS = [
    (TCPServer, "run", ["self"], "connection.py"),
    (TCPServer, "protocol_send", ["self", "event"], "connection.py"),
    (TCPServer, "_read_data", ["self"], "connection.py"),
    (TaskGroup, "spawn", ["self", "func", "args"], "protocol/http1.py"),
    (H2Protocol, "initiate", ["self", "headers", "settings"], "protocol/http2.py"),
    (H2Protocol, "handle", ["self", "event"], "protocol/http2.py"),
    (H2Protocol, "stream_send", ["self", "event"], "protocol/http2.py"),
    (H2Protocol, "send_task", ["self"], "protocol/http2.py"),
    (H2Protocol, "_handle_events", ["self", "events"], "protocol/http2.py"),
    (H2Protocol, "_send_data", ["self", "stream_id"], "protocol/http2.py"),
    (H2Protocol, "_close_stream", ["self", "stream_id"], "protocol/http2.py"),
    (H2Protocol, "_flush", ["self"], "protocol/http2.py"),
    (H2Protocol, "_window_updated", ["self", "stream_id"], "protocol/http2.py"),
    (HTTPStream, "handle", ["self", "event"], "protocol/stream.py"),
    (HTTPStream, "app_send", ["self", "message"], "protocol/stream.py"),
    (Lifespan, "handle_lifespan", ["self", "task_status"], "server.py"),
    (Lifespan, "wait_for_startup", ["self"], "server.py"),
    (Lifespan, "wait_for_shutdown", ["self"], "server.py"),
    (Config, "create_ssl_context", ["self"], "certificate.py"),
]


@pytest.mark.parametrize(("one", "name", "arguments", "where"), METHODS)
def test_hypercorns_classes_have_the_expected_methods(
    one: Any, name: str, arguments: list[str], where: str
) -> None:
    method = getattr(one, name, None)
    assert method is not None, moved("Hypercorn", f"{one.__name__}.{name}", where)
    found = list(inspect.signature(method).parameters)
    assert found == arguments, moved("Hypercorn", f"the arguments of {one.__name__}.{name}", where)


EVENTS = [
    (events.Body, ["stream_id", "data"]),
    (events.EndBody, ["stream_id"]),
    (events.Response, ["stream_id", "headers", "status_code"]),
    (events.InformationalResponse, ["stream_id", "headers", "status_code"]),
    (events.Trailers, ["stream_id", "headers"]),
    (events.StreamClosed, ["stream_id"]),
    (io_events.RawData, ["data", "address"]),
    (io_events.Updated, ["idle"]),
    (io_events.Closed, []),
]


@pytest.mark.parametrize(("one", "names"), EVENTS)
def test_hypercorns_events_have_the_expected_fields(one: Any, names: list[str]) -> None:
    found = [field.name for field in dataclasses.fields(one)]
    assert found == names, moved("Hypercorn", f"the fields of {one.__name__}", "protocol/http1.py")


OPTIONS = [
    *("certfile", "keyfile", "keyfile_password", "include_server_header", "include_date_header", "accesslog"),
    *("errorlog", "wsgi_max_body_size"),
]


@pytest.mark.parametrize("name", OPTIONS)
def test_hypercorns_config_has_the_expected_options(name: str) -> None:
    assert hasattr(Config(), name), moved("Hypercorn", f"Config.{name}", "server.py or certificate.py")


async def _nothing(*_: Any) -> None:
    pass


def test_hypercorns_objects_have_the_expected_attributes() -> None:
    """Also the h2 connection in them."""
    config, context, group = Config(), WorkerContext(None), TaskGroup()
    stream = trio.testing.memory_stream_pair()[0]
    server = TCPServer(_nothing, config, context, {}, stream)  # type: ignore[arg-type]
    for name in ("app", "config", "context", "send_lock", "stream"):
        assert hasattr(server, name), moved("Hypercorn", f"TCPServer.{name}", "connection.py")
    arguments: Any = (_nothing, config, context, group)
    protocol = H2Protocol(*arguments, ConnectionState({}), True, None, None, _nothing)
    for name in (
        *(
            "app",
            "client",
            "closed",
            "config",
            "context",
            "task_group",
            "connection",
            "send",
            "server",
            "ssl",
        ),
        *("streams", "stream_buffers", "priority", "has_data"),
    ):
        assert hasattr(protocol, name), moved("Hypercorn", f"H2Protocol.{name}", "protocol/http2.py")
    for name in ("insert_stream", "remove_stream", "block", "unblock"):
        assert hasattr(protocol.priority, name), moved(
            "priority", f"PriorityTree.{name}", "protocol/http2.py"
        )
    one = HTTPStream(*arguments, True, None, None, _nothing, 1)
    for name in ("app", "client", "server", "closed", "send", "scheme", "stream_id", "task_group"):
        assert hasattr(one, name), moved("Hypercorn", f"HTTPStream.{name}", "protocol/stream.py")
    connection = protocol.connection
    for name in (
        *("acknowledge_received_data", "close_connection", "data_to_send", "highest_inbound_stream_id"),
        *("increment_flow_control_window", "initiate_connection", "local_flow_control_window"),
        *("local_settings", "max_outbound_frame_size", "receive_data", "reset_stream", "send_data"),
        *("send_headers", "state_machine", "config"),
    ):
        assert hasattr(connection, name), moved("h2", f"H2Connection.{name}", "protocol/http2.py")
    where = "protocol/http2.py"
    assert hasattr(connection.decoder, "max_header_list_size"), moved("hpack", "max_header_list_size", where)
    assert hasattr(connection.state_machine, "state"), moved("h2", "the state of its connection", where)
    assert hasattr(h2.connection.ConnectionState, "SERVER_OPEN"), moved("h2", "SERVER_OPEN", where)
    assert connection.config.validate_outbound_headers, moved("h2", "validate_outbound_headers", where)
    assert not connection.config.client_side
    assert issubclass(BufferCompleteError, Exception)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("RequestReceived", ["stream_id", "headers", "stream_ended"]),
        ("DataReceived", ["stream_id", "data", "flow_controlled_length"]),
        ("StreamReset", ["stream_id", "error_code"]),
    ],
)
def test_h2s_events_have_the_expected_fields(name: str, fields: list[str]) -> None:
    found = getattr(h2.events, name).__annotations__
    assert hasattr(h2.events.ConnectionTerminated(), "error_code"), moved(
        "h2", "a GOAWAY's error", "protocol/http2.py"
    )
    assert set(fields) <= set(found), moved("h2", f"a field of {name}", "protocol/http2.py")


def test_h2s_windows_have_the_expected_values() -> None:
    from runtime.serving.protocol.http2 import STREAM_WINDOW

    codes = h2.settings.SettingCodes
    settings = h2.settings.Settings(client=False, initial_values={codes.MAX_CONCURRENT_STREAMS: 7})
    assert settings.max_concurrent_streams == 7, moved(
        "h2", "the initial values of Settings", "protocol/http2.py"
    )
    assert settings.initial_window_size == STREAM_WINDOW, moved(
        "h2", "the initial window", "protocol/http2.py"
    )
    frame = hyperframe.frame.GoAwayFrame(0, last_stream_id=3).serialize()
    assert frame[3] == 7, moved("hyperframe", "GoAwayFrame", "protocol/http2.py")


def test_hypercorn_turns_the_authority_into_the_host() -> None:
    head = [(b":method", b"GET"), (b":authority", b"a"), (b"x", b"y"), (b"host", b"b")]
    assert filter_pseudo_headers(head) == [(b"host", b"a"), (b"x", b"y")], moved(
        "Hypercorn", "filter_pseudo_headers", "http2_request.py"
    )
    assert callable(wrap_app(_nothing, 1, "asgi"))  # type: ignore[arg-type]


def test_httptools() -> None:
    """An upgrade stops the parser with its offset; a later version can be read; an error keeps its cause."""

    class Parts:
        def on_headers_complete(self) -> None:
            versions.append(parser.get_http_version())
            upgrades.append(parser.should_upgrade())

    versions: list[str] = []
    upgrades: list[bool] = []
    parser = httptools.HttpRequestParser(Parts())
    parser.set_dangerous_leniencies(lenient_version=True)
    head = b"GET / HTTP/1.9\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as caught:
        parser.feed_data(head + b"rest")
    where = "request_reader.py"
    assert caught.value.args[0] == len(head), moved("httptools", "the offset of HttpParserUpgrade", where)
    assert (versions, upgrades) == (["1.9"], [True]), moved("httptools", "the version or the upgrade", where)

    class Refusing:
        def on_url(self, url: bytes) -> None:
            raise ValueError("refused")

    with pytest.raises(httptools.HttpParserCallbackError) as refused:
        httptools.HttpRequestParser(Refusing()).feed_data(head)
    assert isinstance(refused.value.__context__, ValueError), moved("httptools", "a callback's error", where)
