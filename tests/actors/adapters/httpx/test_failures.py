"""Which errors and responses are failures, and the wait that a server asks for."""

from __future__ import annotations

import errno
from email.utils import formatdate
from time import time

import httpx
import pytest

from actors import Panel
from actors.adapters.httpx import is_failure, retry_after
from tests.actors.adapters.httpx.transports import body, client, snapshot_of

REQUEST = httpx.Request("GET", "http://x")


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (httpx.ConnectError("x"), True),
        (caused_by(httpx.ConnectError("x"), OSError(errno.ECONNREFUSED, "refused")), True),
        (caused_by(httpx.ConnectError("x"), OSError(errno.EADDRNOTAVAIL, "no ports")), False),
        (caused_by(httpx.ConnectError("x"), ExceptionGroup("all", [OSError(errno.EMFILE, "files")])), False),
        (httpx.ReadTimeout("x"), True),
        (httpx.RemoteProtocolError("x"), True),
        (httpx.UnsupportedProtocol("x"), False),
        (httpx.HTTPStatusError("x", request=REQUEST, response=httpx.Response(500)), True),
        (httpx.HTTPStatusError("x", request=REQUEST, response=httpx.Response(499)), False),
        (ValueError("x"), False),
    ],
)
def test_errors_of_the_network_and_the_server_are_failures(error: Exception, failed: bool) -> None:
    assert is_failure(error) is failed


async def test_a_server_error_is_returned_and_counts(panel: Panel) -> None:
    asked, _ = client(panel, body(b"sorry", status=500), body(b"no", status=404))
    response = await asked.get("/")
    assert response.status_code == 500
    assert response.text == "sorry"
    assert (await snapshot_of(panel)).failure_count == 1
    assert (await asked.get("/")).status_code == 404
    assert (await snapshot_of(panel)).failure_count == 0


async def test_the_breaker_waits_as_long_as_the_server_asks(panel: Panel) -> None:
    busy = httpx.Response(503, headers={"Retry-After": "97"})
    asked, _ = client(panel, httpx.ConnectError("x"), busy)
    with pytest.raises(httpx.ConnectError):
        await asked.get("/")
    await asked.get("/")
    wait = panel["it"].retry_after
    assert wait is not None
    assert 96 < wait <= 97


DATE = "Sun, 06 Nov 1994 08:49:%02d GMT"


@pytest.mark.parametrize(
    ("status", "headers", "wait"),
    [
        (503, {"Retry-After": "120"}, 120),
        (429, {"Retry-After": "1"}, 1),
        (500, {"Retry-After": "120"}, None),
        (503, {}, None),
        (503, {"Retry-After": "soon"}, None),
        (503, {"Retry-After": "-1"}, None),
        (503, {"Retry-After": DATE % 47, "Date": DATE % 37}, 10),
        (503, {"Retry-After": DATE % 37, "Date": DATE % 37}, None),
        (503, {"Retry-After": DATE % 37, "Date": DATE % 47}, None),
        (503, {"Retry-After": DATE % 37}, None),
        (503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        (503, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359"}, None),
        (503, {"Retry-After": "Sun, 06 Nov 99999999999 08:49:00 GMT"}, None),
        (503, {"Retry-After": "31536000"}, 31_536_000),
        (503, {"Retry-After": "31536001"}, None),
        (503, {"Retry-After": "9" * 500}, None),
        (503, {"Retry-After": "0"}, None),
        (503, {"Retry-After": "1.5"}, None),
        (503, {"Retry-After": "inf"}, None),
        (503, [(b"Retry-After", b"\xb2")], None),
    ],
)
def test_retry_after_is_read_from_seconds_and_dates(
    status: int, headers: dict[str, str] | list[tuple[bytes, bytes]], wait: float | None
) -> None:
    response = httpx.Response(status, headers=headers)
    error = httpx.HTTPStatusError("x", request=httpx.Request("GET", "http://x"), response=response)
    assert retry_after(response) == retry_after(error) == wait


def test_a_retry_date_is_measured_from_now_if_the_response_has_no_date() -> None:
    soon = formatdate(time() + 100, usegmt=True)
    wait = retry_after(httpx.Response(503, headers={"Retry-After": soon}))
    assert wait is not None
    assert 90 < wait <= 100
    assert retry_after(ValueError()) is None
